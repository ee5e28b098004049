"""DATM and MTT through their hooks: range, gate, updates, errors, resuming, export."""

import dataclasses
import math

import pytest
import torch
from ddbench import Facts, SyntheticSet, Unsupported, testing
from ddbench_datm import DATMConfig, MTTConfig, datm, mtt
from ddbench_datm.checks import Diverged
from ddbench_datm.matching import GRADIENTS, Problem, draw_batches
from ddbench_datm.method import next_expert
from ddbench_datm.start import LABELS
from ddbench_datm.storage import ExpertError

SMALL = dict(
    student_steps=3, match_epochs=1, max_start_epoch=2, lr_images=10.0, lr_student=0.02,
    experts=2, expert_epochs=3, expert_batch=16,
)  # fmt: skip
DATM = DATMConfig(**SMALL, first_max_start_epoch=1, expand_until=4, rho=0.0, threshold=1.5)
MTT = MTTConfig(**SMALL)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for all tests: the experts are trained once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def toy(store):
    return lambda **options: testing.toy_task(store=store, **{"ipc": 2, **options})


def started(method, task, config):
    return method.init(task, testing.built_init(task), config)


def facts(**options):
    defaults = Facts(
        dataset="toy", num_classes=3, shape=(1, 8, 8), class_counts=(20, 20, 20),
        architecture="convnet", init="spc", ipc=1, steps=10,
    )  # fmt: skip
    return dataclasses.replace(defaults, **options)


# -- the whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "config"), [(datm, DATM), (mtt, MTT)])
def test_condensing_gives_a_valid_set_of_changed_images(method, config, toy):
    task = toy()
    start = testing.built_init(task)
    result = testing.condense(method, task, config, steps=4)
    soft = method is datm
    info = testing.bind(method).info
    assert testing.check_set(result, num_classes=3, shape=(1, 8, 8), ipc=2, balanced=True) == []
    assert result.soft == soft
    assert info.labels == ("soft" if soft else "hard")
    assert (result.images - start.images).abs().max() > 1e-4
    assert torch.equal(result.hard_labels(), start.labels)
    assert result.recipe["lr"] != config.lr_student
    assert result.recipe["labels"] == info.labels
    assert result.recipe["augment"] == task.strategy
    assert result.recipe["batch"] == (128 if soft else 256)


@pytest.mark.parametrize(("method", "config"), [(datm, DATM), (mtt, MTT)])
def test_the_same_seed_gives_the_same_set_bit_for_bit(method, config, toy):
    first, again = (testing.condense(method, toy(), config, steps=4) for _ in range(2))
    other = testing.condense(method, toy(seed=1), config, steps=4)
    assert first.sha256() == again.sha256()
    assert first.sha256() != other.sha256()


def test_the_global_generator_is_neither_used_nor_moved(toy):
    state = torch.get_rng_state()
    testing.condense(datm, toy(), DATM, steps=2)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("method", "config"), [(datm, DATM), (mtt, MTT)])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_resuming_at_any_step_is_the_straight_run(method, config, toy, at, tmp_path):
    straight = testing.condense(method, toy(), config, steps=5)
    task = toy()
    state = started(method, task, config)
    for step in range(at):
        method.condense_step(state, task, step)
    testing.save_checkpoint(tmp_path / "checkpoint", state, task)
    task = toy()
    state = started(method, task, config)
    testing.load_checkpoint(tmp_path / "checkpoint", state, task)
    for step in range(at, 5):
        method.condense_step(state, task, step)
    assert method.export(state, task).sha256() == straight.sha256()


def test_an_export_is_independent_of_later_steps(toy):
    task = toy()
    state = started(datm, task, DATM)
    early = datm.export(state, task)
    before = early.sha256()
    datm.condense_step(state, task, 0)
    assert early.sha256() == before
    assert not early.images.requires_grad and not early.labels.requires_grad


def test_no_steps_export_the_start(toy):
    task = toy()
    start = testing.built_init(task)
    result = testing.condense(datm, task, DATM, steps=0)
    assert torch.equal(result.images, start.images)
    assert result.soft
    assert result.recipe["lr"] == pytest.approx(DATM.lr_student)


def test_condensing_lowers_the_matching_loss(toy):
    config = dataclasses.replace(MTT, student_steps=8, lr_images=1.0, lr_lr=0.0, augment="none")
    task = toy(ipc=1)
    state = started(mtt, task, config)
    losses = [mtt.condense_step(state, task, step)["loss"] for step in range(24)]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


# -- one step -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "config"), [(datm, DATM), (mtt, MTT)])
def test_a_step_is_momentum_sgd_on_the_gradients_of_the_matching_loss(method, config, toy):
    """Two steps recomputed: the same draws, the unrolled gradient, momentum by hand."""
    task = toy()
    state = started(method, task, config)
    generator = torch.Generator()
    generator.set_state(task.generator.get_state())
    values = {"images": state.images, "lr": state.lr}
    rates = {"images": (config.lr_images, 0.5), "lr": (config.lr_lr, 0.5)}
    if method is datm:
        values["labels"] = state.labels
        rates["labels"] = (config.lr_labels, 0.9)
    values = {name: value.detach().clone() for name, value in values.items()}
    velocity = {name: torch.zeros_like(value) for name, value in values.items()}
    order = torch.randperm(2, generator=generator)
    for step, end in enumerate((1, 1) if method is datm else (2, 2)):
        start = int(torch.randint(0, end, (), generator=generator))
        expert = int(order[step])
        match = GRADIENTS["unroll"](
            Problem(
                network=state.network,
                start=state.experts.weights(expert, start),
                target=state.experts.weights(expert, start + 1),
                images=values["images"],
                labels=values.get("labels", state.labels),
                lr=values["lr"],
                batches=draw_batches(6, 0, 3, task.strategy, task.shape, generator),
            )
        )
        metrics = method.condense_step(state, task, step)
        assert metrics["loss"] == pytest.approx(match.loss.item(), rel=1e-5)
        assert metrics["start_epoch"] == start
        for name, value in values.items():
            rate, momentum = rates[name]
            velocity[name] = momentum * velocity[name] + getattr(match, name)
            values[name] = value - rate * velocity[name]
    for name, value in values.items():
        torch.testing.assert_close(getattr(state, name).detach(), value, rtol=1e-4, atol=1e-6)


def test_the_gate_leaves_images_labels_and_rate_alone(toy):
    task = toy()
    state = started(datm, task, dataclasses.replace(DATM, threshold=0.01))
    before = datm.export(state, task).sha256()
    metrics = datm.condense_step(state, task, 0)
    assert metrics["loss"] > 0.01
    assert metrics["gated"] == 1
    assert datm.export(state, task).sha256() == before
    assert all(not optimizer.state for optimizer in state.optimizers)  # no momentum either


def test_the_gate_skips_a_loss_that_is_not_a_number(toy):
    task = toy()
    state = started(datm, task, DATM)
    before = datm.export(state, task).sha256()
    state.experts.weights = lambda expert, epoch: torch.full((state.network.count,), math.nan)
    metrics = datm.condense_step(state, task, 0)
    assert math.isnan(metrics["loss"])
    assert metrics["gated"] == 1
    assert datm.export(state, task).sha256() == before


@pytest.mark.parametrize(("rate", "remedy"), [(0.0, "raise"), (1e20, "lower")])
@pytest.mark.parametrize(("method", "config"), [(datm, DATM), (mtt, MTT)])
def test_experts_that_nothing_can_be_matched_with_end_the_job_at_once(
    method, config, rate, remedy, toy
):
    config = dataclasses.replace(config, expert_lr=rate)
    with pytest.raises((Diverged, ExpertError), match=f"{remedy} expert_lr"):
        started(method, toy(), config)


def test_initial_labels_that_are_not_finite_end_the_job_at_once(toy, monkeypatch):
    monkeypatch.setitem(LABELS, "single", lambda *_: torch.full((6, 3), math.inf))
    with pytest.raises(Diverged, match="initial labels"):
        started(datm, toy(), dataclasses.replace(DATM, label_init="single"))


def test_below_the_threshold_the_gate_is_open(toy):
    task = toy()
    state = started(datm, task, DATM)
    before = [t.detach().clone() for t in (state.images, state.labels, state.lr)]
    metrics = datm.condense_step(state, task, 0)
    assert metrics["loss"] <= 1.5
    assert metrics["gated"] == 0
    after = (state.images, state.labels, state.lr)
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_mtt_has_no_gate_and_fails_on_a_loss_that_is_not_a_number(toy):
    task = toy()
    state = started(mtt, task, MTT)
    state.experts.weights = lambda expert, epoch: torch.full((state.network.count,), math.nan)
    mtt.condense_step(state, task, 0)
    with pytest.raises(Diverged, match="lr_lr|lr_images"):
        mtt.condense_step(state, task, 1)


def test_mtt_never_changes_its_labels(toy):
    task = toy()
    state = started(mtt, task, MTT)
    labels = state.labels.clone()
    mtt.condense_step(state, task, 0)
    assert torch.equal(state.labels, labels)
    assert len(state.optimizers) == 2


@pytest.mark.parametrize("value", [-0.001, 0.0, math.nan, math.inf])
def test_a_learned_rate_that_nothing_can_train_by_fails_with_its_value(value, toy):
    task = toy()
    state = started(datm, task, DATM)
    with torch.no_grad():
        state.lr.fill_(value)
    with pytest.raises(Diverged, match=r"learning rate is .* before step 7.*lower lr_lr"):
        datm.condense_step(state, task, 7)
    with pytest.raises(Diverged, match="at the end"):
        datm.export(state, task)


def test_a_rate_driven_negative_is_logged_before_the_job_fails(toy):
    task = toy()
    state = started(datm, task, DATM)
    datm.condense_step(state, task, 0)
    # Whichever way the gradient points, a large enough step against 0.02 leads below zero.
    sign = 1 if state.lr.grad > 0 else -1
    task = toy()
    state = started(datm, task, DATM)
    state.optimizers[1].param_groups[0].update(lr=sign * 1e3, maximize=False)
    metrics = datm.condense_step(state, task, 0)
    assert metrics["lr_student"] < 0
    with pytest.raises(Diverged):
        datm.condense_step(state, task, 1)


def test_a_floor_keeps_the_rate_up(toy):
    config = dataclasses.replace(DATM, lr_lr=1e3, lr_floor=0.005)
    task = toy()
    state = started(datm, task, config)
    for step in range(3):
        metrics = datm.condense_step(state, task, step)
        assert metrics["lr_student"] >= 0.005 - 1e-9
        with torch.no_grad():
            state.lr.fill_(0.02)


def test_images_that_are_not_finite_fail_with_a_reason(toy):
    task = toy()
    state = started(datm, task, DATM)
    with torch.no_grad():
        state.images[0, 0, 0, 0] = math.nan
    with pytest.raises(Diverged, match=r"NaN or infinite.*lower lr_images"):
        datm.condense_step(state, task, 0)


def test_every_expert_is_used_once_in_each_pass(toy):
    task = toy()
    state = started(datm, task, DATM)
    state.order, state.position = torch.zeros(5, dtype=torch.int64), 5
    passes = [[next_expert(state, task.generator) for _ in range(5)] for _ in range(6)]
    assert all(sorted(one) == list(range(5)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1


# -- the start range ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "end"),
    [(0, 10), (99, 10), (100, 11), (500, 15), (999, 19), (1000, 20), (1001, 20), (10_000, 20)],
)
def test_the_range_expands_linearly(step, end):
    assert DATMConfig().starts(step) == range(0, end)


def test_a_range_that_does_not_expand_is_whole_from_the_start():
    config = DATMConfig(first_max_start_epoch=0, max_start_epoch=60, min_start_epoch=40)
    assert [config.starts(step) for step in (0, 1, 10_000)] == [range(40, 60)] * 3
    assert MTTConfig().starts(0) == range(20)


def test_the_upper_ends_are_exclusive(toy):
    """T- 0, T 1, T+ 2, expanding until 4: start 0 alone before step 4, then 0 and 1, never 2."""
    task = toy()
    state = started(datm, task, DATM)
    starts = [datm.condense_step(state, task, step)["start_epoch"] for step in range(24)]
    assert set(starts[:4]) == {0}
    assert set(starts[4:]) == {0, 1}


def test_the_lower_end_is_inclusive(toy):
    config = dataclasses.replace(
        DATM, min_start_epoch=1, first_max_start_epoch=0, max_start_epoch=3
    )
    task = toy()
    state = started(datm, task, config)
    starts = {datm.condense_step(state, task, step)["start_epoch"] for step in range(16)}
    assert starts == {1, 2}


# -- before any work ------------------------------------------------------------------------------


def needs(**options):
    return DATMConfig(**options).obstacle(facts())


def test_the_published_options_are_possible():
    assert DATMConfig().obstacle(facts()) is None
    assert MTTConfig().obstacle(facts(init="real")) is None


def test_a_horizon_beyond_the_trajectory_is_refused():
    """The last start is T+ - 1: with T+ 20 and M_e 2 it reads epoch 21."""
    assert needs(expert_epochs=21) is None
    why = needs(expert_epochs=20)
    assert "epoch 21, beyond expert_epochs 20" in why
    assert "beyond" in MTTConfig(max_start_epoch=50).obstacle(facts())


@pytest.mark.parametrize(
    "options",
    [
        {"min_start_epoch": 20},
        {"min_start_epoch": 10},  # T is 10, exclusive: empty at first
        {"max_start_epoch": 0, "first_max_start_epoch": 0},
        {"min_start_epoch": 5, "first_max_start_epoch": 5},
    ],
)
def test_an_empty_range_is_refused(options):
    assert "no start epoch" in needs(**options)


def test_a_first_range_beyond_the_last_one_is_refused():
    assert "30 is above max_start_epoch 20" in needs(first_max_start_epoch=30)


def test_labels_of_an_epoch_that_is_not_trained_are_refused():
    assert needs(label_epoch=100) is None
    assert "label_epoch is 101; expected -1..100" in needs(label_epoch=101)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"grad_mode": "exact"}, "available: adjoint, unroll, tesla"),
        ({"label_init": "mean"}, "available: ensemble_correct, single"),
        ({"keep": "some"}, "available: all, window"),
        ({"select": "all"}, "available: init, expert"),
        ({"student_steps": 0}, "student_steps is 0; expected at least 1"),
        ({"experts": 0}, "experts is 0"),
        ({"min_start_epoch": -1}, "min_start_epoch is -1"),
        ({"batch_synthetic": -1}, "batch_synthetic is -1"),
        ({"augment": "colour"}, "did you mean 'color'"),
        ({"expert_augment": "colour"}, "expert_augment: .*did you mean 'color'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, part):
    with pytest.raises(ValueError, match=part):
        DATMConfig(**options)


def test_datm_has_the_options_of_mtt_and_more():
    names = [{f.name for f in dataclasses.fields(c)} for c in (MTTConfig, DATMConfig)]
    assert names[0] < names[1]
    assert not any(name in vars(MTTConfig) for name in names[1] - names[0])


def test_an_experts_choice_is_an_init_of_its_own():
    own_init = testing.bind(datm).info.own_init
    assert own_init(DATMConfig(select="expert")) == "spc" and own_init(DATMConfig()) is None
    assert testing.bind(mtt).info.own_init(MTTConfig()) is None


@pytest.mark.parametrize("architecture", ["convnet-w8-d1-bn"])
def test_batch_norm_is_declined(architecture, toy):
    task = toy(architecture=architecture)
    with pytest.raises(Unsupported, match="batch norm"):
        started(datm, task, DATM)


def test_the_window_holds_all_that_can_be_read_and_no_more():
    def kept(config):
        return dataclasses.replace(config, keep="window").recipe(testing.toy_task()).kept

    config = DATMConfig(
        min_start_epoch=2, first_max_start_epoch=0, max_start_epoch=4, expert_epochs=9
    )
    assert kept(config) == (2, 3, 4, 5, 9)  # starts 2 and 3, targets 4 and 5, labels at 9
    assert kept(dataclasses.replace(config, label_epoch=7)) == (2, 3, 4, 5, 7, 9)


def test_the_kept_window_gives_the_same_set(toy):
    whole = testing.condense(datm, toy(), DATM, steps=3)
    kept = testing.condense(datm, toy(), dataclasses.replace(DATM, keep="window"), steps=3)
    assert whole.sha256() == kept.sha256()


# -- the start ------------------------------------------------------------------------------------


def test_the_inits_images_are_kept_unless_an_expert_chooses(toy):
    task = toy()
    given = testing.built_init(task)
    assert torch.equal(datm.init(task, given, DATM).images, given.images)
    config = dataclasses.replace(DATM, select="expert")
    state = datm.init(task, given, config)
    logits = state.network(state.experts.weights(0, -1), state.images)
    assert torch.equal(logits.argmax(1), given.labels)
    assert not torch.equal(state.images, given.images)


def test_labels_start_as_the_experts_logits(toy):
    task = toy()
    given = testing.built_init(task)
    config = dataclasses.replace(DATM, label_init="single")
    state = datm.init(task, given, config)
    expected = state.network(state.experts.weights(0, -1), given.images)
    torch.testing.assert_close(state.labels, expected)


def test_noise_starts_with_finite_labels(toy):
    task = toy()
    given = testing.built_init(task, "noise")
    state = datm.init(task, given, DATM)
    assert torch.isfinite(state.labels).all()
    assert torch.equal(state.labels.argmax(1), given.labels)


def test_the_initial_set_is_not_written_to(toy):
    task = toy()
    given = testing.built_init(task)
    before = given.sha256()
    state = datm.init(task, given, DATM)
    datm.condense_step(state, task, 0)
    assert given.sha256() == before
    assert isinstance(given, SyntheticSet)


def test_both_methods_share_plain_sgd_experts(toy):
    tasks = [toy(), toy()]
    started(datm, tasks[0], DATM)
    started(mtt, tasks[1], MTT)
    assert list(tasks[0].artifacts_used) == list(tasks[1].artifacts_used)


@pytest.mark.parametrize(("method", "config"), [(datm, DATM), (mtt, MTT)])
def test_prepare_builds_what_init_asks_for_and_no_more(method, config, tmp_path):
    ahead, task = (testing.toy_task(store=tmp_path, ipc=2) for _ in range(2))
    assert testing.bind(method).hook.prepare(task=ahead, config=config)
    started(method, task, config)
    assert list(ahead.artifacts_used) == list(task.artifacts_used)


def test_the_quick_settings_share_their_experts():
    recipes = [
        info.config(**{k: v for k, v in info.quick.items() if k != "steps"}).recipe(
            testing.toy_task()
        )
        for info in (datm.info, mtt.info)
    ]
    assert recipes[0].spec("convnet") == recipes[1].spec("convnet")


@pytest.mark.parametrize("method", [datm, mtt])
def test_the_methods_describe_themselves(method):
    info = testing.bind(method).info
    config = info.config(**{k: v for k, v in info.quick.items() if k != "steps"})
    assert config.obstacle(facts(init=info.default_init)) is None
    assert info.paper and info.bibtex
    assert info.steps(info.config(), 10) == (10_000 if method is datm else 5_000)
