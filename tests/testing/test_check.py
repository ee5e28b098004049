"""The conformance checks: every installed method keeps its word, and every check can fail."""

import contextlib
import signal
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from ddbench import Converged, MethodInfo, SyntheticSet, Unsupported, hookimpl
from ddbench.contract.hookspecs import METHODS_GROUP
from ddbench.testing import CheckFailed, check_method, checks, conformance

# What makes a step on sixty tiny images cheap, or possible at all, where MethodInfo.quick is
# sized for four thousand larger ones.
INSTALLED = sorted({point.name for point in entry_points(group=METHODS_GROUP)})


@pytest.mark.parametrize("name", INSTALLED)
def test_every_installed_method_keeps_its_word(name):
    check_method(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
def test_every_installed_method_keeps_its_word_in_full(name):
    check_method(name, full=True)


@dataclass(frozen=True)
class Config:
    rate: float = 0.1


@dataclass
class State:
    images: torch.Tensor
    labels: torch.Tensor
    rate: float
    noise: torch.Tensor = field(default_factory=lambda: torch.zeros(1))


class Sound:
    """Pull every image toward a few random real ones of its class."""

    @hookimpl
    def describe(self):
        return MethodInfo(config=Config, steps=lambda config, ipc: 10, inits=())

    @hookimpl
    def init(self, task, synthetic, config):
        return State(synthetic.images.clone(), synthetic.hard_labels().clone(), config.rate)

    @hookimpl
    def condense_step(self, state, task):
        for c in range(task.num_classes):
            mine = state.labels == c
            away = state.images[mine] - task.real_images(c, 5).mean(0)
            state.images[mine] -= state.rate * away
        return {"rate": state.rate}

    @hookimpl
    def export(self, state):
        return SyntheticSet(state.images.clone(), state.labels.clone())


def test_a_sound_method_passes_every_check():
    found = check_method(Sound(), full=True)
    assert {finding.check for finding in found} == {
        "options", *(check.name for check in checks.CHECKS),
    }  # fmt: skip
    assert not any(finding.faults for finding in found)


def failed(plugin, only=None, full=False, monkeypatch=None):
    """Return {check: text of the finding} of the checks that `plugin` fails."""
    kept = [check for check in checks.CHECKS if only is None or check.name == only]
    before = list(checks.CHECKS)
    checks.CHECKS[:] = kept
    try:
        check_method(plugin, full=full)
    except CheckFailed as error:
        return {finding.check: str(finding) for finding in error.findings}
    finally:
        checks.CHECKS[:] = before
    return {}


def described(**changes):
    class Described(Sound):
        @hookimpl
        def describe(self):
            return MethodInfo(**{"config": Config, "steps": lambda c, ipc: 10, **changes})

    return Described()


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"steps": lambda config, ipc: 2.5}, "description", "MethodInfo.steps"),
        ({"cycle": lambda config, ipc: 0}, "description", "MethodInfo.cycle"),
        ({"labels": "weak"}, "description", "MethodInfo.labels"),
        ({"default_init": "noise", "inits": ("real",)}, "description", "default_init"),
        ({"quick": {"rate": "fast"}}, "options", "rate"),
        ({"steps": lambda config, ipc: 1 // 0}, "options", "ZeroDivisionError"),
        ({"needs": lambda config, facts: "nothing suits me"}, "options", "nothing suits me"),
    ],
)
def test_a_wrong_description_is_found(changes, check, words):
    assert words in failed(described(**changes), only="description")[check]


def exporting(make):
    class Exporting(Sound):
        @hookimpl
        def export(self, state, task):
            return make(state, task)

    return Exporting()


BROKEN_SETS = {
    "no set": (lambda state, task: [1, 2], "export returned list"),
    "too few": (
        lambda state, task: SyntheticSet(state.images[1:], state.labels[1:]),
        "expected exactly 2 each",
    ),
    "wrong shape": (
        lambda state, task: SyntheticSet(state.images[:, :, 1:], state.labels),
        "images have shape",
    ),
    "wrong dtype": (
        lambda state, task: SyntheticSet(state.images.double(), state.labels),
        "torch.float64",
    ),
    "not finite": (
        lambda state, task: SyntheticSet(state.images / 0, state.labels),
        "NaN or infinite",
    ),
    "attached": (
        lambda state, task: SyntheticSet(state.images.clone().requires_grad_(), state.labels),
        "require grad",
    ),
    "undeclared soft labels": (
        lambda state, task: SyntheticSet(
            state.images, torch.nn.functional.one_hot(state.labels, task.num_classes).float()
        ),
        "hard labels",
    ),
}


BROKEN_SETS["unused payload"] = (
    lambda state, task: SyntheticSet(state.images, state.labels, payload={"more": torch.ones(1)}),
    "which no part of a formation uses",
)


@pytest.mark.parametrize("name", BROKEN_SETS)
def test_a_wrong_set_is_found(name):
    make, words = BROKEN_SETS[name]
    found = failed(exporting(make), only="the set")
    assert words in found["the set"] and "docs/plugin-api.md#the-synthetic-set" in found["the set"]


def test_a_set_that_shares_memory_with_the_state_is_found():
    plugin = exporting(lambda state, task: SyntheticSet(state.images, state.labels))
    assert "it changed" in failed(plugin, only="a set of its own")["a set of its own"]


def test_a_payload_that_shares_memory_with_the_state_is_found():
    plugin = exporting(
        lambda state, task: SyntheticSet(
            state.images.clone(), state.labels.clone(), payload={"more": state.images}
        )
    )
    found = failed(plugin, only="a set of its own")["a set of its own"]
    assert "it changed: payload 'more' differ" in found


def test_an_export_that_advances_the_state_is_found():
    def export(state, task):
        state.images += 1
        return SyntheticSet(state.images.clone(), state.labels.clone())

    assert (
        "two exports in a row" in failed(exporting(export), "a set of its own")["a set of its own"]
    )


def test_an_export_that_draws_from_the_tasks_generator_is_found():
    def export(state, task):
        task.real_images(0, 1)
        return SyntheticSet(state.images.clone(), state.labels.clone())

    assert "exporting midway" in failed(exporting(export), "a set of its own")["a set of its own"]


def test_measures_that_a_file_cannot_hold_are_found():
    def export(state, task):
        return SyntheticSet(state.images.clone(), state.labels.clone(), measures={"pair": (1, 2)})

    assert "measures" in failed(exporting(export), "save and load")["save and load"]


def stepping(advance):
    class Stepping(Sound):
        @hookimpl
        def condense_step(self, state, task, step):
            return advance(state, task, step)

    return Stepping()


GLOBALS = {
    "torch": lambda: torch.randn(()).item(),
    "numpy": lambda: np.random.rand(),
}


@pytest.mark.parametrize("library", GLOBALS)
def test_global_randomness_is_found(library):
    def advance(state, task, step):
        state.images += GLOBALS[library]()

    plugin = stepping(advance)
    assert "bit for bit" in failed(plugin, "one seed, one set")["one seed, one set"]
    assert f"random state of {library}" in failed(plugin, "global state")["global state"]


def test_a_changed_default_dtype_is_found_and_put_back():
    plugin = stepping(lambda state, task, step: torch.set_default_dtype(torch.float64))
    assert "default dtype" in failed(plugin, "global state")["global state"]
    assert torch.get_default_dtype() == torch.float32


def test_a_seed_that_does_nothing_is_found():
    class Deaf(Sound):
        @hookimpl
        def init(self, task, config):
            images = torch.ones(task.num_classes * task.ipc, *task.shape)
            labels = torch.arange(task.num_classes).repeat_interleave(task.ipc)
            return State(images, labels, config.rate)

        @hookimpl
        def condense_step(self, state):
            state.images += 1

    assert "another set" in failed(Deaf(), "one seed, one set")["one seed, one set"]


def test_writing_into_the_training_data_is_found():
    def advance(state, task, step):
        task.images[0] += 1

    assert "task.images" in failed(stepping(advance), "training data")["training data"]


DEVICES = {
    "made on the default device": lambda task: torch.ones(task.shape),
    "made on the CPU": lambda task: torch.zeros(task.shape, device="cpu"),
    "moved to the CPU": lambda task: task.images[0].cpu(),
    "made on a third device": lambda task: torch.zeros(task.shape, device="cuda"),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a real device shows it there")
@pytest.mark.parametrize("how", DEVICES)
def test_a_tensor_on_another_device_is_found(how):
    def advance(state, task, step):
        state.images += DEVICES[how](task)

    found = failed(stepping(advance), "any device")["any device"]
    assert "task.device" in found and "docs/plugin-api.md#devices" in found


def test_a_set_on_the_cpu_is_found():
    plugin = exporting(lambda state, task: SyntheticSet(state.images.cpu(), state.labels.cpu()))
    assert "task.device" in failed(plugin, "any device")["any device"]


def test_a_draw_on_the_cpu_that_is_moved_is_right():
    def advance(state, task, step):
        state.images += torch.randn(task.shape, generator=task.generator).to(task.device)

    assert failed(stepping(advance), "any device") == {}


def _with_a_gradient(images):
    leaf = images.clone().requires_grad_()
    leaf.cpu().square().sum().backward()
    return leaf.grad


def _by_copying(images):
    shrunk = images.cpu().mul_(0.9)
    images.copy_(shrunk)
    return images


ON_THE_CPU = {
    "there and back": lambda images: (images.cpu() * 0.9).to(images.device),
    "in place": lambda images: images.cpu().mul_(0.9).to(images.device),
    "by way of a view": lambda images: (images.cpu()[1:] - 1).flatten(1).to(images.device),
    "in float64": lambda images: images.to("cpu", torch.float64).sqrt().to(images),
    "by a gradient": _with_a_gradient,
    "by copying": _by_copying,
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs there as anywhere")
@pytest.mark.parametrize("how", ON_THE_CPU)
def test_computing_on_the_cpu_and_moving_the_outcome_back_is_found(how):
    def advance(state, task, step):
        ON_THE_CPU[how](state.images)

    found = failed(stepping(advance), "any device")["any device"]
    assert "computed with there" in found and "test_check.py" in found


KEPT_ON_THE_CPU = {
    "a copy": lambda task: task.images.cpu().clone()[:3].to(task.device),
    "indices": lambda task: task.images.cpu().flatten(1).mean(1).argsort().to(task.device),
    "a number": lambda task: task.images * task.images.cpu().mean(),
    "a few numbers": lambda task: task.images[:2].mean((1, 2, 3)).cpu().softmax(0).to(task.device),
    "through numpy": lambda task: torch.from_numpy(task.images.cpu().numpy() + 1).to(task.device),
    "only a shape": lambda task: torch.zeros_like(task.images.cpu()).to(task.device),
}


@pytest.mark.parametrize("what", KEPT_ON_THE_CPU)
def test_what_a_device_has_no_use_for_may_pass_through_the_cpu(what):
    def advance(state, task, step):
        KEPT_ON_THE_CPU[what](task)

    assert failed(stepping(advance), "any device") == {}


def test_a_step_that_returns_no_numbers_fails_the_run():
    plugin = stepping(lambda state, task, step: "fine")
    assert "expected numbers by name" in failed(plugin, "a run")["a run"]


def test_a_recipe_that_no_network_can_be_trained_by_is_found():
    class Soft(Sound):
        @hookimpl
        def describe(self):
            return MethodInfo(config=Config, steps=lambda c, ipc: 10, labels="soft")

        @hookimpl
        def export(self, state, task):
            logits = torch.nn.functional.one_hot(state.labels, task.num_classes).float()
            return SyntheticSet(state.images.clone(), logits, recipe={"augment": "sparkle"})

    assert "unknown operation 'sparkle'" in failed(Soft(), "the set")["the set"]


def test_a_state_that_lives_outside_the_state_is_found_by_resuming():
    class Forgetful(Sound):
        @hookimpl
        def init(self, task, synthetic, config):
            self.pace = 1.0
            return Sound.init(self, task, synthetic, config)

        @hookimpl
        def condense_step(self, state):
            self.pace *= 0.5
            state.images += self.pace

    assert "never stopped" in failed(Forgetful(), "resume")["resume"]


def test_a_state_that_no_checkpoint_can_hold_is_found():
    class Opaque(Sound):
        @hookimpl
        def init(self, task, synthetic, config):
            return replace(Sound.init(self, task, synthetic, config), noise=object())

    assert "state.noise is object" in failed(Opaque(), "resume")["resume"]


def test_a_restore_that_forgets_is_found():
    class Replaced(Sound):
        @hookimpl
        def restore(self, state, tree):
            state.images = torch.zeros_like(state.images)  # not what was saved
            return True

    assert "never stopped" in failed(Replaced(), "resume")["resume"]


def test_a_method_that_ends_with_its_published_steps_fails_its_budget():
    def advance(state, task, step):
        state.images *= [0.9 - i / 100 for i in range(10)][step]

    assert "IndexError" in failed(stepping(advance), "budget")["budget"]


def test_a_step_that_takes_too_long_is_found(monkeypatch):
    monkeypatch.setattr(checks, "STEP_S", 0.01)
    plugin = stepping(lambda state, task, step: time.sleep(0.02))
    assert "less than 0.01 s" in failed(plugin, "budget")["budget"]


def test_a_method_for_grey_images_alone_is_found():
    def advance(state, task, step):
        state.images += task.images.mean(0).reshape(1, 1, 8, 8)

    assert "3 channels" in failed(stepping(advance), "kinds of data")["kinds of data"]


def test_the_full_form_looks_at_every_kind():
    def advance(state, task, step):
        assert (task.num_classes, task.ipc) != (10, 1)

    plugin = stepping(advance)
    assert failed(plugin, "kinds of data") == {}
    assert "10 classes, ipc 1" in failed(plugin, "kinds of data", full=True)["kinds of data"]


def test_a_refusal_is_no_fault_and_says_why():
    class Grey(Sound):
        @hookimpl
        def init(self, task, synthetic, config):
            if task.shape[0] != 1:
                raise Unsupported("needs grey images")
            return Sound.init(self, task, synthetic, config)

    assert failed(Grey(), "kinds of data") == {}


def test_a_refusal_without_a_reason_is_found():
    class Curt(Sound):
        @hookimpl
        def init(self, task, synthetic, config):
            if task.shape[0] != 1:
                raise Unsupported
            return Sound.init(self, task, synthetic, config)

    assert "without a text" in failed(Curt(), "kinds of data")["kinds of data"]


def test_an_error_where_a_refusal_belongs_is_found():
    class Blunt(Sound):
        @hookimpl
        def init(self, task, config):
            chosen = [
                task.class_indices(c)[torch.arange(task.ipc)] for c in range(task.num_classes)
            ]
            images = task.images[torch.cat(chosen)]
            return State(images, task.labels[torch.cat(chosen)], config.rate)

        @hookimpl
        def describe(self):
            return MethodInfo(config=Config, default_init="noise")

    assert "IndexError" in failed(Blunt(), "refusals")["refusals"]


def test_an_init_that_is_promised_and_not_taken_is_found():
    class Picky(Sound):
        @hookimpl
        def describe(self):
            return MethodInfo(config=Config, inits=("real", "noise"))

        @hookimpl
        def init(self, task, synthetic, config):
            if not torch.cdist(synthetic.images.flatten(1), task.images.flatten(1)).amin() == 0:
                raise ValueError("these are not real images")
            return Sound.init(self, task, synthetic, config)

    assert "not real images" in failed(Picky(), "all inits", full=True)["all inits"]


def test_soft_labels_taken_for_hard_ones_are_found():
    class Hard(Sound):
        @hookimpl
        def init(self, task, synthetic, config):
            return State(synthetic.images.clone(), synthetic.labels.clone(), config.rate)

    assert failed(Hard(), "soft labels", full=True)["soft labels"]


def test_what_converges_before_it_can_be_stopped_is_not_said_to_resume():
    def advance(state, task, step):
        raise Converged

    for full in (False, True):
        found = {f.check: f for f in check_method(stepping(advance), full=full)}
        for check in ("resume", "budget"):
            assert "it converges after 1 of 4 steps" in found[check].refused


def test_a_method_that_exits_is_found():
    def advance(state, task, step):
        raise SystemExit("bye")

    found = failed(stepping(advance))
    assert "SystemExit: bye (test_check.py:" in found["the set"]
    assert {"kinds of data", "any device"} <= found.keys()


def test_a_method_that_hangs_is_found_and_ends_the_checks(monkeypatch):
    def advance(state, task, step):
        with contextlib.suppress(Exception):
            while True:
                time.sleep(0.01)

    monkeypatch.setattr(conformance, "LIMIT_S", 0.2)
    before = signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM)
    found = failed(stepping(advance))
    assert list(found) == ["the set"]
    assert "an end within 0.2 s" in found["the set"] and "test_check.py:" in found["the set"]
    assert signal.getsignal(signal.SIGALRM) == before[1]
    assert before[0][0] - 10 < signal.getitimer(signal.ITIMER_REAL)[0] <= before[0][0]


def test_an_unknown_init_is_one_finding_with_a_suggestion():
    with pytest.raises(CheckFailed, match="unknown 'nosie'; did you mean 'noise'") as caught:
        check_method(Sound(), init="nosie")
    assert [finding.check for finding in caught.value.findings] == ["options"]


def test_a_method_that_converges_at_once_passes():
    class Selection(Sound):
        @hookimpl
        def describe(self):
            return MethodInfo(steps=lambda config, ipc: 0)

        @hookimpl
        def init(self, synthetic):
            return State(synthetic.images, synthetic.labels, 0.0)

        @hookimpl
        def condense_step(self):
            raise Converged

    assert all(finding.passed for finding in check_method(Selection()))


def test_a_failure_says_what_was_expected_what_it_got_and_where_it_is_explained():
    plugin = exporting(lambda state, task: SyntheticSet(state.images[1:], state.labels[1:]))
    with pytest.raises(CheckFailed) as caught:
        check_method(plugin)
    text = str(caught.value)
    assert "method 'exporting' fails" in text
    assert all(word in text for word in ("expected ", "got ", "see docs/plugin-api.md#"))


def test_every_check_is_shown_to_fail():
    shown = Path(__file__).read_text()
    for check in checks.CHECKS:
        assert f'"{check.name}"' in shown, f"no broken plugin here fails the check {check.name!r}"


def test_options_given_replace_the_quick_ones():
    with pytest.raises(CheckFailed, match="unknown 'sped'"):
        check_method(Sound(), options={"sped": 1})


def test_every_check_runs_with_the_options_given():
    rates = {}

    class Recording(Sound):
        @hookimpl
        def init(self, task, synthetic, config):
            rates.setdefault(task.dataset, set()).add(config.rate)
            return super().init(task, synthetic, config)

    check_method(Recording(), options={"rate": 0.25})
    assert rates == {"toy": {0.25}, "check": {0.25}}  # by itself, and in the runner


def test_a_method_is_found_by_the_path_of_its_file(tmp_path):
    with pytest.raises(conformance.MethodError, match="no such Python file"):
        check_method(str(tmp_path / "mine.py"))
