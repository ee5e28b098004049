"""What is called published: every method and every table of the registry, at home and elsewhere."""

from pathlib import Path

import pytest
from ddbench.contract.rows import AXES
from ddbench.datasets import catalogue
from ddbench.discovery.asking import in_process
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import discover, load
from ddbench.planning.draft import PlanningContext
from ddbench.planning.jobs import Choices, DatasetFacts
from ddbench.planning.planner import make
from ddbench.planning.registry import Where, read

PLUGINS = Path(__file__).parents[2] / "plugins"
OURS = {f"ddbench-{folder.name}" for folder in PLUGINS.iterdir() if folder.is_dir()}
METHODS = {name: load(found) for name, found in discover().items() if found.distribution in OURS}
if len({method.found.distribution for method in METHODS.values()}) < len(OURS):
    pytest.skip("not all of ddbench's own methods are installed", allow_module_level=True)

REGISTRY = read()
SOURCES = catalogue.register_datasets()
CHOSEN = {"dataset": "datasets", "arch": "architectures", "ipc": "ipc", "init": "inits"}
FIELD = {"dataset": "dataset", "arch": "architecture", "ipc": "ipc", "init": "init"}
ELSEWHERE = {
    "dataset": ("usps", "mhist", "cifar10?zca=true", "mnist?train_per_class=5000"),
    "arch": ("lenet", "mlp", "alexnet", "convnet-d4", "convnet-w32", "convnet-w32-bn"),
    "ipc": (3, 25, 1000),
    "init": ("noise", "real", "spc", "kmeans"),
}
UNUSED = {
    "fedd3": {"arch", "init"},  # it matches no network; clients start from their own images
    "idc": {"init"},  # it makes its own canvases
    "rded": {"init"},  # it only selects
}
FREE = {"datm": (("datm", "select", ("init",)),)}  # of what would forbid to start elsewhere
SAME = {"cifar10?zca=true": "cifar10-zca"}


def asking():
    """Return what answers for the methods; what it has said of networks is kept."""
    ask = in_process(METHODS, Extensions.installed())
    inits, kept = ask({"inits": True})["inits"], {}

    def answer(request):
        asked = request.get("architectures", ())
        new = [one for one in asked if repr(one) not in kept]
        answers = ask({**request, "architectures": new})
        kept.update(zip(map(repr, new), answers["architectures"], strict=True))
        return answers | {"architectures": [kept[repr(one)] for one in asked], "inits": inits}

    return answer


def facts(name, options):
    """Return facts of any dataset, as if its files were here: nothing is read."""
    source = SOURCES[catalogue.split_options(name)[0]]
    counts = (6000,) * source.num_classes
    return DatasetFacts(name, name, source.num_classes, source.shape, counts, "color_crop")


FOUND = {name: method.found for name, method in METHODS.items()}
WORLD = PlanningContext(FOUND, asking(), facts, lambda: SOURCES)


def planned(row, at, **more):
    """Return the jobs of one row at some places, at its published settings."""
    places = {CHOSEN[axis]: values for axis, values in at.items()}
    choices = Choices(rows=(row,), published=True, seeds=(0,), **places, **more)
    plan = make(REGISTRY, choices, WORLD)
    return [job for job in plan.condensations if job.control_of is None]


def where(at):
    return Where(at["dataset"], at["arch"], int(at["ipc"]))


def homes():
    """Go through methods and tables: the row, and one place where its settings were published."""
    for row in dict.fromkeys([*METHODS, *REGISTRY.methods]):
        info = METHODS[REGISTRY.method_of(row)].info
        if info.published is False or not REGISTRY.methods.get(row, {}).get("published", True):
            continue
        for narrowed in [{}, *(at for at, _ in REGISTRY.settings_of(row) if at)]:
            usual = {axis: values[0] for axis, values in info.published_at.items()}
            at = {"dataset": "cifar10", "arch": "convnet", "ipc": 10, **usual, **narrowed}
            found = REGISTRY.published_at(row, where(at))
            at |= {axis: values[0] for axis, values in found.items()} | narrowed
            yield row, {axis: at[axis] for axis in AXES} | {"ipc": int(at["ipc"])}


HOMES = list(homes())
EACH = pytest.mark.parametrize(
    ("row", "at"), HOMES, ids=["-".join(map(str, (row, *at.values()))) for row, at in HOMES]
)


def test_every_table_of_the_registry_that_is_published_is_tried():
    tables = {name for name, table in REGISTRY.methods.items() if table.get("published", True)}
    assert {row for row, _ in HOMES} == tables | {
        "gm", "dsa", "dm", "idc", "mtt", "datm", "fedd3", "frepo", "rded",
    }  # fmt: skip


@EACH
def test_published_settings_carry_no_mark_where_they_were_published(row, at):
    [job] = planned(row, {axis: (value,) for axis, value in at.items()})
    assert job.reduced == {}


@EACH
def test_elsewhere_every_row_is_marked(row, at):
    method = REGISTRY.method_of(row)
    info = METHODS[method].info
    here = info.published_at | REGISTRY.published_at(row, where(at))
    assert here.keys() | UNUSED.get(method, set()) >= {"dataset", "arch", "init"}
    for axis in (axis for axis in CHOSEN if axis in here):
        others = [one for one in ELSEWHERE[axis] if SAME.get(one, one) not in here[axis]]
        places = {name: (value,) for name, value in at.items()} | {axis: tuple(others)}
        jobs = planned(row, places, settings=FREE.get(method, ()) if axis == "init" else ())
        assert jobs, axis
        for job in jobs:
            value = getattr(job, FIELD[axis])
            there = {"dataset": job.dataset, "arch": job.architecture, "ipc": job.ipc}
            published = info.published_at | REGISTRY.published_at(row, where(there))
            if SAME.get(value, value) in published[axis]:
                continue  # by a table for just that, or where no table says otherwise
            marks = {*CHOSEN} & {*job.reduced}
            narrow = any(place for place, _ in REGISTRY.settings_of(row))
            assert marks if narrow else job.reduced[axis][0] == value, there


def reductions(row, *settings):
    """Return what is marked of one row at home, but for an option or two."""
    at = {axis: (value,) for axis, value in next(at for name, at in HOMES if name == row).items()}
    [job] = planned(row, at, settings=settings)
    return {*job.reduced}


@pytest.mark.parametrize(
    ("row", "option", "value", "marked"),
    [
        ("datm@cifar10-ipc10", "grad_mode", "unroll", False),
        ("datm@cifar10-ipc10", "grad_mode", "tesla", True),
        ("datm", "select", "expert", False),
        ("datm", "select", "init", True),
        ("mtt", "batch_synthetic", 100, False),  # the whole set
        ("mtt", "batch_synthetic", 99, True),
        ("mtt", "keep", "window", False),
        ("mtt", "experts_together", 5, False),
        ("gm", "outer", 1, False),  # as ipc 1 has it
        ("gm", "outer", 2, True),
        ("gm", "inner_epochs", 7, False),  # a network that is matched once is never trained
        ("gm@ipc100", "inner_epochs", 7, True),
        ("dm", "batch_real", 6001, True),
        ("idc", "factor", 1, False),  # IDC-I
        ("idc", "factor", 4, True),
        ("idc@mnist-factor1", "factor", 2, True),
        ("idc", "shrink", "area", True),
        ("idc", "batch_synthetic", 40, False),  # all that ipc 1 decodes to
        ("rded", "batch", 50, False),  # that of ipc 10
        ("rded", "candidates", 299, True),
        ("rded", "teacher", "convnet-bn", False),  # the one that is condensed for
        ("fedd3", "alpha", 0.1, False),  # of another partition
        ("fedd3", "server", "convnet", False),  # which is only counted with
        ("fedd3", "ridge", 1e-5, True),
        ("frepo", "train_steps", 1000, False),  # as the size of the set has it
        ("frepo", "train_steps", 2000, True),
        ("frepo", "batch_network", 10, False),  # the whole set
    ],
)
def test_an_option_is_marked_where_it_changes_the_result(row, option, value, marked):
    method = REGISTRY.method_of(row)
    assert (option in reductions(row, (method, option, (value,)))) == marked


def test_published_architectures_have_their_canonical_names():
    from ddbench import canonical_architecture

    said = [info.published_at.get("arch", ()) for info in (m.info for m in METHODS.values())]
    said += [REGISTRY.published_at(row, where(at)).get("arch", ()) for row, at in HOMES]
    names = {name for names in said for name in names}
    assert names and all(canonical_architecture(name) == name for name in names)


def test_the_packages_that_bring_methods_are_known_by_name():
    from ddbench.discovery.methods import PACKAGES, package_of

    brings = {name: {*methods} for name, methods in PACKAGES.items()}
    found = {}
    for name, method in METHODS.items():
        found.setdefault(method.found.distribution, set()).add(name)
    assert found == brings
    assert (package_of("mtt"), package_of("other")) == ("ddbench-datm", "ddbench-other")
