"""Devices: what is named is there, or is refused before anything starts, with what there is."""

import pytest
from ddbench.execution import devices
from ddbench.execution.devices import device_named
from ddbench.execution.run_options import RunOptions, gpus_of
from ddbench.planning.registry import RegistryError


@pytest.fixture
def gpus(monkeypatch):
    """Pretend a number of GPUs, as torch would count them."""

    def pretend(count, visible=None):
        def counted(named):
            return 1 if named in ("GPU-12", "MIG-3") else count

        monkeypatch.setattr(devices, "_count", counted)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return pretend


@pytest.mark.parametrize("name", ["cuda:1", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(name, gpus):
    gpus(1)
    with pytest.raises(RegistryError, match=f"--device {name}: .* here: cpu, cuda:0$"):
        device_named(name)


@pytest.mark.parametrize("name", ["cuda:x", "cuda:-1", "cuda:", "cuda:0x0", "CUDA", "gpu", "", "0"])
def test_what_is_no_device_is_refused_with_those_that_are(name, gpus):
    gpus(2)
    with pytest.raises(RegistryError, match="expected auto, cpu.*here: cpu, cuda:0, cuda:1$"):
        device_named(name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("7", "there is no GPU 7; visible here: 0, 1$"),
        ("0,x", "there is no GPU x"),
        ("-1", "there is no GPU -1"),
        ("0-1", "there is no GPU 0-1"),
        ("", "names none"),
        (",", "names none"),
        ("GPU-99", "there is no GPU GPU-99"),
    ],
)
def test_gpus_that_are_not_there_are_refused(text, why, gpus):
    gpus(2)
    with pytest.raises(RegistryError, match=why):
        device_named("auto", text)


def test_gpus_are_taken_once_each_by_number_or_unique_name(gpus):
    gpus(2)
    assert device_named("auto", "1, 0,1") == ("cuda", ("1", "0"))
    assert device_named("cuda", "GPU-12") == ("cuda", ("GPU-12",))
    assert device_named("cuda:1") == ("cuda:1", None)
    with pytest.raises(RegistryError, match="no such GPU; here: cpu, cuda:0$"):
        device_named("cuda:1", "0")  # of those that were chosen


def test_gpus_that_the_system_hides_are_not_there(gpus):
    gpus(1, visible="3,9")  # of which CUDA finds one
    assert devices.cuda_devices() == ("3",)
    assert device_named("cuda", "3") == ("cuda", ("3",))
    with pytest.raises(RegistryError, match="there is no GPU 0; visible here: 3"):
        device_named("cuda", "0")


def test_without_a_gpu_nothing_that_needs_one_is_taken(gpus):
    gpus(0)
    assert device_named("auto") == ("cpu", None)
    for name, chosen in (("cuda", None), ("cuda:0", None), ("auto", "0"), ("cpu", "0")):
        with pytest.raises(RegistryError, match="--device|--gpus"):
            device_named(name, chosen)


def test_a_run_names_its_gpu_by_number_among_those_that_are_visible(gpus, tmp_path):
    gpus(2, visible="5,6")
    options = RunOptions(tmp_path, device="cuda:1")
    assert gpus_of(options) == ("cuda", ("6",))
