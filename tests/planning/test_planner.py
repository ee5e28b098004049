"""The plan: what is crossed with what, which options win, and what an identity depends on."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
from ddbench import NUMERICS, MethodInfo, hookimpl
from ddbench.architectures import canonical
from ddbench.datasets.source import seed_name
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import bind
from ddbench.planning.job_ids import adopting, keeping, with_evaluation_id, with_ids
from ddbench.planning.jobs import Choices, row_labels
from ddbench.planning.option_values import parse_duration
from ddbench.planning.registry import RegistryError, parse, read
from ddbench.planning.workspace import Places, Session
from ddbench.store.records import Condensation, Evaluation
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = """
[protocols.short]
epochs = 4
networks = 2
augment = "dsa"
drop = { after_epochs = 2 }

[protocols.whole]
epochs = 1
networks = 1

[methods."step@noise"]
method = "step"

[presets.quick]
datasets = ["toy"]
architectures = ["convnet-w8-d1"]
evaluate_on = ["convnet-w8-d1", "mlp"]
ipc = [1, 2]
seeds = [0, 1]
protocol = "short"
rows = ["step", { method = "step@noise", init = "noise", options = { lr = 3.0 } }]
"""


@dataclass(frozen=True)
class Config:
    lr: float = 1.0
    batch: int = 256


class Step:
    info = MethodInfo(
        config=Config, steps=lambda config, ipc: 100 * ipc, quick={"steps": 5, "batch": 8}
    )

    @hookimpl
    def describe(self):
        return self.info

    @hookimpl
    def init(self, synthetic):
        return synthetic

    @hookimpl
    def condense_step(self):
        return {}

    @hookimpl
    def export(self, state):
        return state


def method(**info):
    plugin = Step()
    plugin.info = replace(Step.info, **info)
    return bind(plugin)


@pytest.fixture
def session(tmp_path):
    return open_session(tmp_path)


def open_session(cache, text=TEXT, **methods):
    registry = parse(text, Path("registry.toml"))
    return Session.of(registry, Places(cache), methods or {"step": method()}, Extensions())


def test_rows_cross_datasets_ipc_and_seeds(session):
    plan = session.plan(Choices())
    assert len(plan.condensations) == 2 * 2 * 2
    assert len(plan.evaluations) == len(plan.condensations) * 2
    assert len({job.id for job in plan.condensations}) == 8
    assert len({job.id for job in plan.evaluations}) == 16
    assert {(job.init, job.config["lr"]) for job in plan.condensations} == {
        ("real", 1.0),
        ("noise", 3.0),
    }


def test_what_a_preset_leaves_out_joins_by_its_name_alone(tmp_path):
    methods = {"step": method(), "fast": method(), "slow": method()}
    text = TEXT + 'others = true\nleave_out = ["slow"]\n'
    session = open_session(tmp_path, text, **methods)

    def of(**choices):
        return {job.method for job in session.plan(Choices(**choices)).condensations}

    assert of() == of(all_methods=True) == {"step", "fast"}
    assert of(rows=("slow",)) == {"slow"}


def test_choices_of_the_command_line_replace_the_presets(session):
    choices = Choices(rows=("step",), inits=("noise",), ipc=(3,), seeds=(7,), evaluate_on=("mlp",))
    plan = session.plan(choices)
    [job] = plan.condensations
    assert (job.init, job.ipc, job.seed, job.steps) == ("noise", 3, 7, 300)
    [evaluation] = plan.evaluations
    assert evaluation.architecture == "mlp" and evaluation.condensation == job.id


def test_steps_and_a_budget_are_not_both_possible(session):
    [problem] = refused(session, steps=3, budget=60.0)
    assert "--budget and --steps" in problem


@pytest.mark.parametrize("text", ["0", "-1m", "10 parsecs", "9" * 400, "99999999999d", "²s"])
def test_a_duration_that_is_none_is_refused_by_its_option(text):
    with pytest.raises(RegistryError, match="--budget"):
        parse_duration(text, "--budget")
    assert parse_duration("1.5h", "--budget") == 5400


def test_a_set_option_wins_and_several_values_make_an_axis(session):
    settings = (("step", "lr", (5.0, 6.0)),)
    plan = session.plan(Choices(ipc=(1,), seeds=(0,), settings=settings))
    assert sorted(job.config["lr"] for job in plan.condensations) == [5.0, 5.0, 6.0, 6.0]
    assert {job.row for job in plan.condensations} == {"step", "step@noise"}
    assert sorted(row_labels(plan.condensations).values()) == [
        "step [lr=5.0]", "step [lr=6.0]", "step@noise [lr=5.0]", "step@noise [lr=6.0]",
    ]  # fmt: skip


def test_what_is_not_published_is_marked(session):
    plan = session.plan(Choices(ipc=(2,), seeds=(0,), steps=7))
    plain, other = plan.condensations
    assert plain.reduced == {"steps": [7, 200]}
    assert other.reduced == {"lr": [3.0, 1.0], "steps": [7, 200]}
    published = session.plan(Choices(ipc=(2,), seeds=(0,), rows=("step",))).condensations[0]
    assert published.reduced == {}


def test_registry_settings_are_published_ones(tmp_path):
    text = TEXT + "[methods.step]\nlr = 2.0\nsteps = 11\n[methods.step.ipc.2]\nsteps = 22\n"
    plan = open_session(tmp_path, text).plan(Choices(rows=("step",), seeds=(0,)))
    assert [(j.config["lr"], j.steps, j.reduced) for j in plan.condensations] == [
        (2.0, 11, {}),
        (2.0, 22, {}),
    ]


def test_a_quick_preset_takes_the_methods_quick_settings(tmp_path):
    plan = open_session(tmp_path, TEXT + "quick = true\n").plan(Choices(ipc=(1,), seeds=(0,)))
    job = plan.condensations[0]
    assert (job.steps, job.config["batch"]) == (5, 8)
    assert job.reduced == {"batch": [8, 256], "steps": [5, 100]}


def test_published_settings_replace_all_that_a_preset_reduces(tmp_path):
    text = TEXT.replace("seeds = [0, 1]", "seeds = [0]\nquick = true")
    text = text.replace('"step", {', '{ method = "step", steps = 7, options = { batch = 3 } }, {')
    text += "[methods.step.ipc.2]\nlr = 0.5\nsteps = 30\n"
    session = open_session(tmp_path, text)
    assert {job.steps for job in session.plan(Choices()).condensations} == {7, 5}
    plan = session.plan(Choices(published=True))
    assert [(job.init, job.steps, job.config["lr"]) for job in plan.condensations] == [
        ("real", 100, 1.0), ("real", 30, 0.5), ("noise", 100, 1.0), ("noise", 30, 0.5),
    ]  # fmt: skip
    assert not any(job.reduced or job.quick for job in plan.condensations)
    settings = (("step", "batch", (9,)),)
    plan = session.plan(Choices(published=True, steps=2, ipc=(1,), settings=settings))
    assert {(job.steps, job.config["batch"]) for job in plan.condensations} == {(2, 9)}
    assert all(set(job.reduced) == {"steps", "batch"} for job in plan.condensations)


def test_controls_stand_beside_a_row_unless_they_stand_there_anyway(tmp_path):
    with_control = method(controls=({"steps": 0}, {"method": "other"}))
    session = open_session(tmp_path, step=with_control, other=method())
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,)))
    assert [(j.row, j.steps, j.control_of) for j in plan.condensations] == [
        ("step", 100, None),
        ("step", 0, "step"),
        ("other", 100, "step"),
    ]
    plan = session.plan(Choices(rows=("step", "other"), ipc=(1,), seeds=(0,)))
    assert [(j.row, j.steps) for j in plan.condensations] == [
        ("step", 100),
        ("other", 100),
        ("step", 0),
    ]


def test_a_control_that_a_row_of_several_seeds_holds_is_not_repeated(tmp_path):
    text = TEXT.replace('rows = ["step",', 'rows = ["step", { method = "other", seeds = [0, 5] },')
    with_control = method(controls=({"method": "other"},))
    session = open_session(tmp_path, text, step=with_control, other=method())
    plan = session.plan(Choices(ipc=(1,)))
    assert [j.seed for j in plan.condensations if j.row == "other"] == [0, 5, 1]
    assert [j.control_of for j in plan.condensations if j.row == "other"] == [None, None, "step"]


def test_a_method_of_no_steps_keeps_them_whatever_is_asked(tmp_path):
    session = open_session(tmp_path, step=method(steps=lambda config, ipc: 0))
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), steps=50))
    assert plan.condensations[0].steps == 0 and plan.condensations[0].reduced == {}


def test_soft_labels_are_evaluated_by_their_own_recipe_too(tmp_path):
    session = open_session(tmp_path, step=method(labels="soft"))
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), evaluate_on=("mlp",)))
    assert [evaluation.own_recipe for evaluation in plan.evaluations] == [False, True]
    assert len({evaluation.id for evaluation in plan.evaluations}) == 2


def test_a_protocol_says_dsa_and_the_dataset_says_which_operations(session):
    recipe = session.plan(Choices()).evaluations[0].recipe
    assert recipe["augment"].startswith("color_crop_cutout")
    assert recipe["drop"] == {"after_epochs": 2, "factor": 0.1, "reset_momentum": False}


def test_the_whole_training_set_is_a_reference_row(tmp_path):
    text = TEXT.replace('protocol = "short"', 'protocol = "short"\nreference = "whole"')
    plan = open_session(tmp_path, text).plan(Choices())
    references = [evaluation for evaluation in plan.evaluations if evaluation.condensation is None]
    assert [(r.architecture, r.protocol, r.networks) for r in references] == [
        ("convnet-w8-d1", "whole", 1)
    ]


# -- what cannot be done -----------------------------------------------------------------------


def refused(session, **choices):
    with pytest.raises(RegistryError) as caught:
        session.plan(Choices(**choices))
    return caught.value.problems


def test_all_unknown_names_come_at_once_with_suggestions(session):
    found = refused(session, rows=("stpe",), datasets=("toyy",), protocol=("shrt",))
    assert len(found) == 3
    text = "\n".join(found)
    for name in ("'step'", "'toy'", "'short'"):
        assert f"did you mean {name}?" in text


def test_an_unknown_option_suggests_one(session):
    [problem] = refused(session, settings=(("step", "lrr", (1,)),))
    assert problem.startswith("--set step.lrr: unknown 'lrr'; did you mean 'lr'?")


def test_an_unknown_variant_suggests_near_ones_and_lists_all(tmp_path):
    text = TEXT + '[methods."step@noisy"]\nmethod = "step"\n[methods."far@away"]\nmethod = "far"\n'
    session = open_session(tmp_path, text)
    assert refused(session, rows=("step@nois", "step@quite-another-one")) == [
        "--method: registry.toml has no variant 'step@nois'; did you mean 'step@noisy' or "
        "'step@noise'? Variants of step: step@noise, step@noisy",
        "--method: registry.toml has no variant 'step@quite-another-one'. "
        "Variants of step: step@noise, step@noisy",
    ]
    text = TEXT.replace('rows = ["step",', 'rows = ["step@nois", "absent@one",')
    [problem] = refused(open_session(tmp_path, text))
    assert problem.startswith("registry.toml:22: [presets.quick.rows] 0: ")
    text = TEXT.replace('rows = ["step",', 'rows = ["absent@one",')
    assert "ddbench-absent" in open_session(tmp_path, text).plan(Choices()).skipped[0].reason


@dataclass(frozen=True)
class Checked(Config):
    def __post_init__(self):
        if self.lr > 5:
            raise ValueError("LR lr 9 is too large")


def test_a_configs_own_refusal_names_where_the_value_was_set(tmp_path):
    text = TEXT.replace('protocol = "short"', 'protocol = "short"\nquick = true')
    session = open_session(tmp_path, text, step=method(config=Checked))
    choices = {"rows": ("step",), "settings": (("step", "lr", (9.0,)),)}
    assert refused(session, **choices) == ["--set step.lr: LR lr 9 is too large"]


def test_an_option_of_the_wrong_type_names_its_place(tmp_path):
    text = TEXT + '[methods.step]\nbatch = "many"\n'
    [problem] = refused(open_session(tmp_path, text))
    assert problem.startswith("registry.toml:24: [methods.step] batch: ") and "'many'" in problem


def test_an_unknown_architecture_is_an_error_and_one_too_deep_a_skipped_row(session):
    assert any("convnett" in problem for problem in refused(session, architectures=("convnett",)))
    plan = session.plan(Choices(architectures=("vgg11",), ipc=(1,), seeds=(0,)))
    assert not plan.condensations
    assert {skipped.architecture for skipped in plan.skipped} == {"vgg11"}
    assert "8" in plan.skipped[0].reason


def test_an_ipc_below_one_or_beyond_the_data(session):
    assert refused(session, ipc=(0,), seeds=(-1, 2), rows=("stepp",))[:2] == [
        "--ipc 0: is too small; expected at least 1",
        "--seed -1: is too small; expected at least 0",
    ]
    plan = session.plan(Choices(rows=("step",), inits=("real",), ipc=(10_000,), seeds=(0,)))
    assert (
        not plan.condensations and "ipc 10000 asks for more real images" in plan.skipped[0].reason
    )


def test_needs_are_asked_before_any_work(tmp_path):
    needs = lambda config, facts: f"C is {facts.num_classes}" if facts.ipc == 2 else None  # noqa: E731
    plan = open_session(tmp_path, step=method(needs=needs)).plan(
        Choices(rows=("step",), seeds=(0,))
    )
    assert [job.ipc for job in plan.condensations] == [1]
    assert [skipped.reason.startswith("C is ") for skipped in plan.skipped] == [True]


def test_a_method_that_is_not_installed_is_skipped_with_the_command_that_installs_it(tmp_path):
    text = TEXT.replace('"step", {', '"frepo", {')
    plan = open_session(tmp_path, text).plan(Choices())
    assert plan.condensations
    assert {s.row for s in plan.skipped} == {"frepo"}
    assert "pip install ddbench-frepo" in plan.skipped[0].reason


@dataclass(frozen=True)
class Narrow(Config):
    def __post_init__(self):
        if self.batch == 8:
            raise ValueError("8 is too few")


@pytest.mark.parametrize(
    ("info", "reason", "left"),
    [
        (
            {"default_init": "reel"},
            "step: MethodInfo.default_init: unknown 'reel'; did you mean",
            0,
        ),
        ({"quick": {"lr": "fast"}}, "step: MethodInfo.quick: ", 0),
        ({"config": Narrow}, "step: MethodInfo.config: 8 is too few", 0),
        ({"controls": ({"init": "reel"},)}, "step: MethodInfo.controls: unknown 'reel'", 1),
        ({"controls": ({"options": {"lr": "fast"}},)}, "step: MethodInfo.controls: ", 1),
        (
            {"controls": ({"method": "other", "options": {"lrr": 1}},)},
            "step: MethodInfo.controls: option: unknown 'lrr'",
            1,
        ),
    ],
)
def test_what_a_method_says_wrongly_of_itself_costs_its_own_rows(tmp_path, info, reason, left):
    text = TEXT.replace('protocol = "short"', 'protocol = "short"\nquick = true')
    session = open_session(tmp_path, text, step=method(**info), other=method())
    plan = session.plan(Choices(rows=("step", "other"), ipc=(1,), seeds=(0,)))
    assert [job.method for job in plan.condensations] == ["step"] * left + ["other"]
    [skipped] = plan.skipped
    assert skipped.failed and reason in skipped.reason


@pytest.mark.parametrize("where", ["registry", "--init"])
def test_an_unknown_init_that_somebody_asked_for_is_an_error_with_its_place(tmp_path, where):
    text = TEXT.replace('rows = ["step",', 'rows = [{ method = "step", init = "reel" },')
    session = open_session(tmp_path, text, step=method(default_init="reel"))
    inits = ("reel",) if where == "--init" else None
    found = refused(session, inits=inits, ipc=(1,), seeds=(0,))
    assert any(one.startswith(where) and "unknown 'reel'" in one for one in found)


def test_options_asked_for_are_an_error_beside_those_of_the_method(tmp_path):
    text = TEXT.replace('protocol = "short"', 'protocol = "short"\nquick = true')
    session = open_session(tmp_path, text, step=method(quick={"batch": "few"}))
    [problem] = refused(session, rows=("step",), settings=(("step", "lr", ("fast",)),))
    assert problem.startswith("--set step.lr: ")


def test_a_plugin_whose_rules_raise_costs_its_own_rows(tmp_path):
    def broken(config, ipc):
        raise ZeroDivisionError("steps of nothing")

    session = open_session(tmp_path, step=method(steps=broken), other=method())
    plan = session.plan(Choices(rows=("step", "other"), ipc=(1,), seeds=(0,)))
    assert [job.method for job in plan.condensations] == ["other"]
    assert plan.skipped[0].failed and "steps of nothing" in plan.skipped[0].reason


def test_an_absent_dataset_is_a_skipped_row_with_the_remedy(session):
    plan = session.plan(Choices(datasets=("toy", "cifar10"), ipc=(1,), seeds=(0,)))
    assert {job.dataset for job in plan.condensations} == {"toy"}
    assert {skipped.dataset for skipped in plan.skipped} == {"cifar10"}
    assert "fetch" in plan.skipped[0].reason


@pytest.mark.parametrize(
    "twice",
    [
        {"datasets": ("toy", "toy")},
        {"datasets": ("toy", "toy?classes=4")},
        {"datasets": ("toy?size=8&classes=3", "toy?classes=3&size=8")},
        {"architectures": ("convnet-w8-d1", "convnet-d1-w8")},
        {"evaluate_on": ("convnet-w8-d1", "convnet-w8-d1", "mlp", "convnet-d1-w8")},
        {"protocol": ("short", "short")},
        {"ipc": (1, 2, 1)},
        {"seeds": (0, 1, 0)},
        {"inits": ("real", "real")},
        {"rows": ("step", "step")},
        {"settings": (("step", "lr", (2.0, 2, 2.0)), ("step", "lr", (2.0,)))},
    ],
    ids=lambda twice: "-".join(twice),
)
def test_what_is_named_twice_is_planned_once(twice, session):
    once = {name: tuple(dict.fromkeys(values))[:1] for name, values in twice.items()}
    if "evaluate_on" in twice:
        once["evaluate_on"] = ("convnet-w8-d1", "mlp")
    if "ipc" in twice or "seeds" in twice:
        once = {name: tuple(dict.fromkeys(values)) for name, values in twice.items()}
    if "settings" in twice:
        once["settings"] = (("step", "lr", (2.0,)),)
    given = {"preset": "quick", "rows": ("step",)}
    plans = [session.plan(Choices(**given | choices)) for choices in (twice, once)]
    for kind in ("condensations", "evaluations"):
        ids, expected = ([job.id for job in getattr(plan, kind)] for plan in plans)
        assert ids == expected and len(set(ids)) == len(ids)


def test_a_folder_by_two_paths_is_planned_once(session, tmp_path):
    import numpy as np

    images = np.zeros((20, 8, 8), np.uint8)
    images[::2] = 200
    splits = {f"{split}_{what}": array for split in ("train", "test")
              for what, array in (("images", images), ("labels", np.arange(20) % 2))}  # fmt: skip
    np.savez(tmp_path / "own.npz", **splits)
    paths = f"npz:{tmp_path}/own.npz", f"npz:{tmp_path}/./own.npz"
    plan = session.plan(Choices(preset="quick", rows=("step",), datasets=paths))
    assert {job.dataset for job in plan.condensations} == {paths[0]}


def test_one_and_true_are_two_values_of_an_option(session):
    setting = ("step", "lr", (1.0, True))
    with pytest.raises(RegistryError):  # and not passed over as a repeat
        session.plan(Choices(preset="quick", rows=("step",), settings=(setting,)))


def test_options_of_a_dataset_may_stand_behind_its_name(session):
    plan = session.plan(Choices(rows=("step",), datasets=("toy?size=16", "toy"), ipc=(1,)))
    small, *_, large = sorted(plan.condensations, key=lambda job: job.dataset)
    assert (small.dataset, large.dataset) == ("toy", "toy?size=16")
    assert small.dataset_fingerprint != large.dataset_fingerprint and "?" not in large.id
    [problem] = refused(session, datasets=("toyy?size=16",))
    assert problem.startswith("--dataset: unknown 'toyy'; did you mean 'toy'?")
    assert "unknown option 'sise'" in refused(session, datasets=("toy?sise=16",))[0]


# -- identity ------------------------------------------------------------------------------------


def test_an_identity_depends_on_all_that_determines_the_result(session):
    job = session.plan(Choices()).condensations[0]
    changes = {
        "code": "sha256:other",
        "config": {**job.config, "lr": 2.0},
        "dataset_fingerprint": "other",
        "architecture": "mlp",
        "init": "other",
        "ipc": 9,
        "seed": 9,
        "steps": 9,
        "budget_s": 9.0,
        "precision": "bfloat16",
        "numerics": 9,
    }
    ids = {with_ids(replace(job, **{name: value})).id for name, value in changes.items()}
    assert len(ids) == len(changes) and job.id not in ids
    assert with_ids(replace(job, code="sha256:other")).options_id == job.options_id
    assert with_ids(replace(job, paper="another", published_steps=3, snapshots=(1,))).id == job.id


TEXT_VALUES = st.text(max_size=5)
NAMES = st.from_regex("[a-z]{1,5}", fullmatch=True)
COUNTS = st.integers(0, 10**6)
VALUES = st.dictionaries(TEXT_VALUES, st.booleans() | COUNTS | TEXT_VALUES, max_size=3)
CODE = st.dictionaries(NAMES, NAMES, max_size=3)
ALL, OPTIONS, NONE = {"id", "options_id", "series_id"}, {"id", "options_id"}, set()
OF_CODE = {"id", "series_id"}

# Which values each field takes, and into which ids it enters; ids themselves are made of the rest.
CONDENSATION = {
    "id": (TEXT_VALUES, NONE),
    "options_id": (TEXT_VALUES, NONE),
    "series_id": (TEXT_VALUES, NONE),
    "row": (TEXT_VALUES, NONE),
    "method": (TEXT_VALUES, ALL),
    "source": (TEXT_VALUES, NONE),
    "code": (TEXT_VALUES, OF_CODE),
    "dataset": (NAMES, ALL),
    "dataset_fingerprint": (TEXT_VALUES, ALL),
    "architecture": (TEXT_VALUES, ALL),
    "init": (TEXT_VALUES, ALL),
    "ipc": (COUNTS, ALL),
    "seed": (COUNTS, ALL),
    "config": (VALUES, ALL),
    "steps": (COUNTS, OPTIONS),
    "published_steps": (COUNTS, NONE),
    "budget_s": (st.none() | st.floats(1, 10**6), OPTIONS),
    "cycle": (COUNTS, NONE),
    "step_unit": (TEXT_VALUES, NONE),
    "labels": (TEXT_VALUES, NONE),
    "balanced": (st.booleans(), NONE),
    "reduced": (VALUES, NONE),
    "quick": (st.booleans(), NONE),
    "control_of": (st.none() | TEXT_VALUES, NONE),
    "paper": (TEXT_VALUES, NONE),
    "bibtex": (TEXT_VALUES, NONE),
    "snapshots": (st.lists(COUNTS).map(tuple), NONE),
    "precision": (TEXT_VALUES, ALL),
    "numerics": (COUNTS, OF_CODE),
    "extensions": (CODE, OF_CODE),
    "published": (st.booleans(), NONE),
    "validate": (st.none() | COUNTS, NONE),  # it is in the fingerprint of the data
    "setting": (TEXT_VALUES, NONE),  # it is the method's
}
SET, WHOLE = "an evaluation of a set", "of the whole training set"
EVALUATION = {
    "id": (TEXT_VALUES, NONE),
    "condensation": (st.none() | TEXT_VALUES, NONE),  # the condensation itself is given beside it
    "snapshot": (st.none() | COUNTS, {SET, WHOLE}),
    "dataset": (NAMES, NONE),
    "dataset_fingerprint": (TEXT_VALUES, {WHOLE}),
    "architecture": (TEXT_VALUES, {SET, WHOLE}),
    "protocol": (TEXT_VALUES, NONE),
    "recipe": (VALUES, {SET, WHOLE}),
    "own_recipe": (st.booleans(), {SET, WHOLE}),
    "networks": (COUNTS, {SET, WHOLE}),
    "extensions": (CODE, {SET, WHOLE}),
    "validate": (st.none() | COUNTS, NONE),  # it is in the fingerprint of the data
    "tested_on": (st.sampled_from(["test", "validation"]), {SET, WHOLE}),
}


def any_of(record, table):
    return st.builds(record, **{name: values for name, (values, _) in table.items()})


def another(data, job, table, name):
    """Return the job with another value of one field."""
    old = getattr(job, name)
    return replace(job, **{name: data.draw(table[name][0].filter(lambda value: value != old))})


def hash_in(id):
    """Return the hash at the end of an id, whose readable part says some of it again."""
    return id.rsplit("-", 1)[-1]


@pytest.mark.parametrize(
    ("record", "table"), [(Condensation, CONDENSATION), (Evaluation, EVALUATION)]
)
def test_of_every_field_it_is_known_into_which_ids_it_enters(record, table):
    assert {field.name for field in fields(record)} == {*table}


@pytest.mark.parametrize("name", CONDENSATION)
@settings(max_examples=10)
@given(data=st.data())
def test_a_field_of_a_condensation_changes_the_ids_that_it_enters_and_no_other(name, data):
    job = data.draw(any_of(Condensation, CONDENSATION))
    one, two = with_ids(job), with_ids(another(data, job, CONDENSATION, name))
    changed = {id for id in ALL if hash_in(getattr(one, id)) != hash_in(getattr(two, id))}
    unasked = name == "steps" and job.budget_s is not None  # a budget is instead of steps
    assert changed == (NONE if unasked else CONDENSATION[name][1])


@pytest.mark.parametrize("name", EVALUATION)
@settings(max_examples=10)
@given(data=st.data())
def test_a_field_of_an_evaluation_changes_its_id_where_it_enters(name, data):
    job = data.draw(any_of(Evaluation, EVALUATION))
    of = with_ids(data.draw(any_of(Condensation, CONDENSATION)))
    other = another(data, job, EVALUATION, name)
    for about, condensation in ((SET, of), (WHOLE, None)):
        one, two = (with_evaluation_id(which, condensation).id for which in (job, other))
        assert (hash_in(one) != hash_in(two)) == (about in EVALUATION[name][1]), about


@settings(max_examples=10)
@given(any_of(Evaluation, EVALUATION), any_of(Condensation, CONDENSATION))
def test_an_evaluations_id_depends_on_its_set_and_on_the_cores_numerics(job, of):
    of = with_ids(of)
    ids = {with_evaluation_id(job, one).id for one in (of, replace(of, id="another"), None)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddbench.planning.job_ids.NUMERICS", NUMERICS + 1)
        ids |= {with_evaluation_id(job, one).id for one in (of, None)}
    assert len({hash_in(id) for id in ids}) == 5


def test_snapshots_are_steps_or_percentages(session):
    choices = Choices(rows=("step",), ipc=(1,), seeds=(0,), snapshots=("0", "10%", "50"))
    plan = session.plan(choices)
    assert plan.condensations[0].snapshots == (0, 10, 50)
    assert {e.snapshot for e in plan.evaluations} == {None, 0, 10, 50}
    assert refused(session, snapshots=("x", "200%", "999"), ipc=(1, 2)) == [
        "--snapshots x: expected steps or percentages, as 0,10%,500",
        "--snapshots 200%: is more than the whole; at most 100%",
        "--snapshots 999: no row takes more than 200 steps",
    ]


def test_a_snapshot_that_some_row_reaches_is_left_out_of_shorter_ones(tmp_path):
    still = method(steps=lambda config, ipc: 0)
    session = open_session(tmp_path, step=method(), still=still)
    choices = Choices(rows=("step", "still"), ipc=(1, 2), seeds=(0,), snapshots=("150", "50%"))
    jobs = session.plan(choices).condensations
    assert [job.snapshots for job in jobs] == [(50,), (100, 150), (), ()]
    assert not session.plan(replace(choices, rows=("still",))).condensations[0].snapshots
    choices = replace(choices, rows=("step",), snapshots=("9999",), budget=60.0)
    assert session.plan(choices).condensations[0].snapshots == (9999,)


def test_steps_of_the_command_line_win_over_the_presets_but_not_over_a_controls_own(tmp_path):
    text = TEXT.replace('rows = ["step",', 'rows = [{ method = "step", steps = 50 },')
    session = open_session(tmp_path, text, step=method(controls=({"steps": 0},)))
    plan = session.plan(Choices(rows=("step",), steps=7, ipc=(1,), seeds=(0,)))
    assert [(job.steps, job.control_of) for job in plan.condensations] == [(7, None), (0, "step")]


def test_rows_of_one_ipc_stay_at_it_and_other_ipcs_get_a_plain_row(tmp_path):
    rows = 'rows = [{ method = "step", ipc = [1], steps = 5 }, { method = "step", ipc = [2] },'
    session = open_session(tmp_path, TEXT.replace('rows = ["step",', rows))

    def steps(*ipc):
        plan = session.plan(Choices(rows=("step",), ipc=ipc, seeds=(0,)))
        return [(job.ipc, job.steps) for job in plan.condensations]

    assert steps(1) == [(1, 5)]
    assert steps(1, 2, 3) == [(1, 5), (2, 200), (3, 300)]


def test_an_init_of_a_method_table_is_used_and_checked(tmp_path):
    table = '[methods.step]\ninit = "{}"\n[methods.step.dataset.toy.ipc.2]\ninit = "real"\n'
    session = open_session(tmp_path, TEXT + table.format("noise"))
    plan = session.plan(Choices(rows=("step",), seeds=(0,)))
    assert [(job.ipc, job.init) for job in plan.condensations] == [(1, "noise"), (2, "real")]
    [problem] = refused(open_session(tmp_path, TEXT + table.format("nois")), rows=("step",))
    assert "did you mean 'noise'" in problem


def test_settings_that_are_not_published_mark_the_row(tmp_path):
    table = '[methods."step@noise"]\nmethod = "step"\n'
    changed = table + "published = false\nsteps = 9\nlr = 2.5\n"
    session = open_session(tmp_path, TEXT.replace(table, changed))
    plan = session.plan(Choices(rows=("step@noise",), ipc=(1,), seeds=(0,)))
    [job] = plan.condensations
    assert job.reduced == {"lr": [3.0, 1.0], "steps": [9, 100]}


def test_a_row_away_from_where_its_settings_were_published_is_marked(tmp_path):
    table = '[methods."step@noise"]\nmethod = "step"\n'
    at = 'published_at = { ipc = [1], dataset = ["mnist"] }\n'
    step = method(published_at={"init": ("real",), "batch": (256, 512)})
    session = open_session(tmp_path, TEXT.replace(table, table + at), step=step)
    plain, variant = session.plan(Choices(ipc=(2,), seeds=(0,))).condensations
    assert plain.reduced == {}
    at_fault = {
        "lr": [3.0, 1.0],
        "ipc": [2, 1],
        "dataset": ["toy", "mnist"],
        "init": ["noise", "real"],
    }
    assert variant.reduced == at_fault  # what it says of two axes leaves the third to its method
    other = Choices(rows=("step",), ipc=(2,), seeds=(0,), inits=("noise",),
                    settings=(("step", "batch", (8,)),))  # fmt: skip
    [job] = session.plan(other).condensations
    assert job.reduced == {"batch": [8, "256 or 512"], "init": ["noise", "real"]}


def test_a_table_for_one_place_says_that_its_settings_were_published_there(tmp_path):
    step = method(published_at={"dataset": ("mnist",), "ipc": (1,), "init": ("noise",)})
    text = TEXT + '[methods.step.dataset.toy.ipc.2]\nlr = 5.0\ninit = "real"\n'
    session = open_session(tmp_path, text, step=step)
    plan = session.plan(Choices(rows=("step",), seeds=(0,), published=True))
    assert [(job.init, job.reduced) for job in plan.condensations] == [
        ("noise", {"dataset": ["toy", "mnist"]}),
        ("real", {}),
    ]


def test_one_set_of_data_under_two_names_is_published_under_both(tmp_path):
    step = method(published_at={"dataset": ("small",)})
    named = '[datasets.small]\nsource = "toy"\noptions = { train_per_class = 4 }\n'
    session = open_session(tmp_path, TEXT + named, step=step)
    for name, marked in (("small", False), ("toy?train_per_class=4", False), ("toy", True)):
        [job] = session.plan(
            Choices(rows=("step",), datasets=(name,), ipc=(1,), seeds=(0,))
        ).condensations
        assert bool(job.reduced) == marked, name


def test_published_takes_the_init_and_the_options_that_were_published(tmp_path):
    chosen = {"ipc": (1,), "seeds": (0,), "published": True}
    step = method(published_at={"init": ("noise", "real"), "batch": (512, 1024)})
    jobs = open_session(tmp_path, step=step).plan(Choices(**chosen)).condensations
    assert {(job.init, job.config["batch"]) for job in jobs} == {("real", 512), ("noise", 512)}
    step = method(published_at={"init": ("noise",), "batch": (512,)})
    session = open_session(tmp_path, step=step)
    [plain] = session.plan(Choices(rows=("step",), inits=("real",), **chosen)).condensations
    assert plain.reduced == {"init": ["real", "noise"]}
    settings = (("step", "batch", (512,)),)
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), settings=settings))
    [job] = plan.condensations  # 512 is what was published, and the default is not
    assert job.reduced == {"init": ["real", "noise"]}
    session = open_session(tmp_path, TEXT.replace("step@noise", "step"), step=step)
    [job] = session.plan(Choices(**chosen)).condensations  # two rows have become one
    assert (job.init, job.config["batch"], job.reduced) == ("noise", 512, {})


def test_options_that_change_no_result_are_not_marked(tmp_path):
    def halves(config, facts):
        return replace(config, batch=config.batch // 2)

    session = open_session(tmp_path, step=method(canonical=halves))
    for batch, reduced in ((257, {}), (258, {"batch": [258, 256]})):
        settings = (("step", "batch", (batch,)),)
        plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), settings=settings))
        assert [job.reduced for job in plan.condensations] == [reduced]


def test_a_canonical_form_that_is_no_config_fails_its_row_by_name(tmp_path):
    session = open_session(tmp_path, step=method(canonical=lambda config, facts: {}))
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,)))
    assert not plan.condensations
    assert "MethodInfo.canonical gives {}; expected a Config" in plan.skipped[0].reason


@pytest.mark.parametrize(
    ("info", "own"),
    [({}, [False]), ({"labels": "soft"}, [False, True]), ({"own_recipe": True}, [False, True])],
)
def test_a_set_with_a_recipe_is_evaluated_by_it_too(tmp_path, info, own):
    session = open_session(tmp_path, step=method(**info))
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), evaluate_on=("mlp",)))
    assert [evaluation.own_recipe for evaluation in plan.evaluations] == own


def test_a_method_that_is_not_installed_is_no_typo_of_a_short_name(tmp_path):
    text = TEXT.replace('rows = ["step",', 'rows = ["steamer",')
    plan = open_session(tmp_path, text).plan(Choices(ipc=(1,), seeds=(0,)))
    assert "steamer" in {skipped.row for skipped in plan.skipped}
    [problem] = refused(open_session(tmp_path, text.replace("steamer", "stepp")))
    assert "did you mean 'step'" in problem and problem.startswith("registry.toml:")


def test_mistakes_of_every_kind_come_together_with_their_places(tmp_path):
    text = TEXT.replace('["toy"]', '["toy", "toyy"]').replace('["convnet-w8-d1", "mlp"]', '["mpl"]')
    text += "[methods.stepp]\nlr = 2\n[methods.step.dataset.toyy]\nlr = 2\n"
    found = refused(
        open_session(tmp_path, text), inits=("nois",), settings=(("step", "lrr", (1,)),)
    )
    for words in ("[presets.quick] datasets", "[presets.quick] evaluate_on", "[methods] stepp",
                  "[methods.step.dataset] toyy", "--init", "--set step.lrr"):  # fmt: skip
        assert any(words in problem for problem in found), words
    assert sum("registry.toml:" in problem for problem in found) == 4


def test_a_wrong_init_and_a_wrong_network_come_together_even_without_data(session):
    for datasets in (("toy",), ("cifar10",), ("toyy",)):
        found = refused(
            session, faults=("first",), datasets=datasets, inits=("nois",), architectures=("mpl",)
        )
        assert found[0] == "first"
        assert any("--init: unknown 'nois'; did you mean 'noise'?" in one for one in found)
        assert any("--arch: unknown architecture 'mpl'" in one for one in found)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**300, True, "1"])
def test_a_value_that_is_no_finite_number_is_refused(session, value):
    problems = refused(session, settings=(("step", "lr", (value,)),))  # one, or one a check
    assert problems and all(problem.startswith("--set step.lr: ") for problem in problems)


def test_the_same_data_at_two_places_has_one_id_and_one_randomness():
    [one, other] = [seed_name(name, "abc") for name in ("npz:/a/d.npz", "npz:/b/d.npz")]
    assert one == other != seed_name("mnist", "abc")


def test_a_network_too_deep_to_evaluate_on_is_skipped_by_name(session):
    plan = session.plan(Choices(evaluate_on=("vgg11",), ipc=(1,), seeds=(0,)))
    assert plan.condensations and not plan.evaluations
    assert {skipped.evaluate_on for skipped in plan.skipped} == {"vgg11"}


def test_no_whole_training_set_is_planned_for_nothing(tmp_path):
    text = TEXT.replace('protocol = "short"', 'protocol = "short"\nreference = "whole"')
    session = open_session(tmp_path, text)
    assert not session.plan(Choices(rows=("step",), ipc=(10**6,))).evaluations
    [first, *_] = session.plan(Choices(architectures=("mlp",), ipc=(1,), seeds=(0,))).evaluations
    assert first.condensation is None and first.architecture == "convnet-w8-d1"


def test_a_control_has_its_rows_settings_and_its_own_over_all(tmp_path):
    info = method(controls=({"options": {"lr": 0.5}},))
    text = TEXT.replace('rows = ["step",', 'rows = [{ method = "step", options = { batch = 9 } },')
    session = open_session(tmp_path, text, step=info)
    settings = (("step", "lr", (2.0,)),)
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), settings=settings))
    row, control = plan.condensations
    assert dict(row.config) == {"lr": 2.0, "batch": 9} and row.row == "step"
    assert dict(control.config) == {"lr": 0.5, "batch": 9} and control.control_of == row.row
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,),
                                settings=(("step", "lr", (0.5,)),)))  # fmt: skip
    assert len(plan.condensations) == 1


@pytest.mark.parametrize(
    ("info", "published"),
    [({}, False), ({"paper": "A, 2020"}, True), ({"paper": "A, 2020", "published": False}, False)],
)
def test_defaults_are_published_where_a_paper_gives_them(tmp_path, info, published):
    plan = open_session(tmp_path, step=method(**info)).plan(Choices(rows=("step",), steps=7))
    assert {job.published for job in plan.condensations} == {published}


def test_results_of_other_code_are_kept_without_the_snapshots_that_it_did_not_take(session):
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), snapshots=("3",)))
    [job] = plan.condensations
    assert {evaluation.snapshot for evaluation in plan.evaluations} == {None, 3}
    kept = keeping(plan, {job.id: "of-before"})
    assert [(one.id, one.snapshots) for one in kept.condensations] == [("of-before", ())]
    assert {(one.condensation, one.snapshot) for one in kept.evaluations} == {("of-before", None)}


# -- sweeps ------------------------------------------------------------------------------------


def swept(session, option, *values, **more):
    settings = (("step", option, values),)
    choices = {"rows": ("step",), "ipc": (1,), "seeds": (0,), "settings": settings, **more}
    return session.plan(Choices(**choices)).condensations


def test_a_sweep_over_the_default_holds_the_row_without_a_sweep(session):
    [plain] = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,))).condensations
    jobs = swept(session, "lr", 1.0, 2.0)
    assert [job.config["lr"] for job in jobs] == [1.0, 2.0]
    assert jobs[0].id == plain.id and jobs[0].row == "step"
    assert row_labels(jobs) == {jobs[0].id: "step [lr=1.0]", jobs[1].id: "step [lr=2.0]"}


def test_a_value_that_is_named_twice_is_one_row(session):
    assert len(swept(session, "lr", 2.0, 2)) == 1


def test_controls_that_come_out_the_same_are_those_of_the_row_without_a_sweep(tmp_path):
    def canonical(config, facts):
        return config if facts.steps else replace(config, lr=0.0)

    step = method(controls=({"steps": 0},), canonical=canonical)
    session = open_session(tmp_path, step=step)
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,)))
    [plain] = [job for job in plan.condensations if job.control_of]
    for values in ((2.0, 3.0), (1.0, 2.0)):
        controls = [job for job in swept(session, "lr", *values) if job.control_of]
        assert [job.id for job in controls] == [plain.id]
    controls = [job for job in swept(session, "batch", 8, 16) if job.control_of]
    assert [job.config["batch"] for job in controls] == [8, 16]  # of these the start may depend


def test_what_a_folder_has_under_another_name_is_adopted_by_its_hash(session):
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), evaluate_on=("mlp",)))
    [job], [evaluation] = plan.condensations, plan.evaluations
    named = "step-lr-1.0-toy-" + job.id.rpartition("-")[2]
    adopted = adopting(plan, [named], [])
    [moved] = adopted.evaluations
    assert adopted.condensations == [replace(job, id=named)] and moved.condensation == named
    theirs = "step-lr-1.0-on-mlp-" + moved.id.rpartition("-")[2]
    assert adopting(plan, [named], [theirs]).evaluations == [replace(moved, id=theirs)]
    assert adopting(plan, [named, job.id], [theirs, evaluation.id]) == plan  # its own is there
    twins = replace(plan, condensations=[job, replace(job, id="other-" + job.id)])
    assert adopting(twins, [named], []) == twins  # two rows would be one


def test_a_value_of_a_sweep_that_is_impossible_is_skipped_by_name(tmp_path):
    step = method(needs=lambda config, facts: "too much" if config.lr > 1 else None)
    settings = (("step", "lr", (1.0, 2.0)),)
    session = open_session(tmp_path, step=step)
    plan = session.plan(Choices(rows=("step",), ipc=(1,), seeds=(0,), settings=settings))
    assert [(one.row, dict(one.options)) for one in plan.skipped] == [("step", {"lr": 2.0})]


def test_all_mistakes_of_a_registry_come_together_whatever_is_run(tmp_path):
    text = TEXT.replace('["toy"]', '["toyy"]').replace("ipc = [1, 2]", "ipc = [0, 1]")
    text += """
    [presets.other]
    datasets = ["mnits"]
    architectures = ["convnett"]
    evaluate_on = ["mlp"]
    ipc = [1]
    protocol = "shrt"
    rows = ["stepp", { method = "step", init = "nois", options = { bach = 1 } }]
    [methods.step]
    lr = "1"
    [methods.step.dataset.toy.ipc.5]
    btach = 3
    [methods."step@x"]
    lr = 2
    [methods.stepp]
    lr = 2
    [datasets.mine]
    source = "tpy"
    """
    registry = parse(text, Path("registry.toml"), lenient=True)
    session = Session.of(registry, Places(tmp_path), {"step": method()}, Extensions())
    found = refused(session, settings=(("step", "lrr", (1,)),))
    for words in ("[presets.quick.ipc] 0", "'shrt'", "'toyy'", "'mnits'", "'convnett'", "'stepp'",
                  "'nois'", "'bach'", "[methods.step] lr: ", "'btach'", 'add method = "step"',
                  "'tpy'", "--set step.lrr"):  # fmt: skip
        assert any(words in problem for problem in found), (words, found)
    assert len(found) == len({*found})


@pytest.mark.parametrize("spelling", ["convnet-w8-d1", "convnet-d1-w8", "convnet-relu-d1-w8"])
def test_a_table_for_a_network_holds_however_the_network_is_spelt(tmp_path, spelling):
    text = TEXT + f'\n[methods.step.arch."{spelling}"]\nlr = 9.0\n'
    session = open_session(tmp_path, text)
    plan = session.plan(Choices(architectures=("convnet-d1-w8",), ipc=(1,), seeds=(0,)))
    assert {job.config["lr"] for job in plan.condensations if job.row == "step"} == {9.0}
    assert not any("arch" in job.reduced for job in plan.condensations if job.row == "step")
    other = session.plan(Choices(architectures=("mlp",), ipc=(1,), seeds=(0,)))
    assert 9.0 not in {job.config["lr"] for job in other.condensations}


@pytest.mark.parametrize("name", ["conv-net", "ConvNet", "convnet-w8-x"])
def test_a_table_for_a_network_that_does_not_exist_is_refused_by_name(tmp_path, name):
    session = open_session(tmp_path, TEXT + f'\n[methods.step.arch."{name}"]\nlr = 9.0\n')
    [problem] = refused(session)
    assert problem.startswith("registry.toml:") and name in problem


def test_the_default_registry_spells_networks_canonically():
    for name in read().own_architectures():
        assert canonical(name) == name
