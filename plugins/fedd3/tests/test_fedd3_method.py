import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import ddbench_fedd3
import pytest
import torch
from ddbench import Converged, Facts, SyntheticSet, Unsupported
from ddbench.testing import (
    bind,
    check_method,
    check_set,
    condense,
    load_checkpoint,
    save_checkpoint,
    toy_task,
)
from ddbench_fedd3 import Config, budget, kip, partition, upload

HOOK = bind(ddbench_fedd3).hook
INFO = HOOK.describe()
ENDLESS = Config(clients=5, stop_accuracy=1.0)  # an accuracy is never above 1


def task(**changes):
    return toy_task(**{"classes": 10, "per_class": 20, "size": 12, "ipc": 1, **changes})


def start(config, **changes):
    own = task(**changes)
    return HOOK.init(task=own, synthetic=None, config=config), own


def steps(state, own, count):
    for step in range(count):
        HOOK.condense_step(state=state, task=own, step=step)


def facts(ipc=1, counts=(20,) * 10):
    return Facts("toy", len(counts), (1, 12, 12), tuple(counts), "convnet", "real", ipc, 100)


def same(a: SyntheticSet, b: SyntheticSet) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


# -- the contract ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"stop_accuracy": 1.0, "learn_labels": True},
        {"partition": "dirichlet", "payload": "uint8", "dropout": 0.4, "stop_accuracy": 1.0},
        {"client_distiller": "kmeans"},
    ],
)
def test_the_harness_finds_nothing_wrong(options):
    check_method("fedd3", options=options)


@pytest.mark.parametrize("distiller", sorted(ddbench_fedd3.DISTILLERS))
@pytest.mark.parametrize("scheme", ["reference", "iid", "dirichlet"])
def test_every_distiller_works_under_every_partition(distiller, scheme):
    config = Config(clients=2, classes_per_client=5, partition=scheme, client_distiller=distiller)
    own = task(ipc=2, per_class=40, size=6)
    result = condense(ddbench_fedd3, own, config, min(4, INFO.steps(config, 2)))
    assert check_set(result, num_classes=10, shape=own.shape, ipc=2, balanced=False) == []
    assert len(result) == 20
    assert result.columns["client_id"].tolist() == [0] * 10 + [1] * 10


@pytest.mark.parametrize("distiller", sorted(ddbench_fedd3.DISTILLERS))
def test_the_same_seed_gives_bit_identical_sets(distiller):
    config = replace(ENDLESS, client_distiller=distiller, payload="uint8")
    first, again, other = (
        condense(ddbench_fedd3, task(seed=seed, ipc=2, size=6), config, 6) for seed in (0, 0, 1)
    )
    assert first.sha256() == again.sha256()
    assert first.sha256() != other.sha256()


@pytest.mark.parametrize("distiller", ["kip", "kmeans"])
def test_an_interrupted_condensation_goes_on_bit_identically(distiller, tmp_path):
    config = replace(ENDLESS, client_distiller=distiller, learn_labels=True, dropout=0.3)
    straight, own = start(config)
    steps(straight, own, 4)
    expected = HOOK.export(state=straight, task=own)

    stopped, own = start(config)
    steps(stopped, own, 2)
    save_checkpoint(tmp_path / "checkpoint", stopped, own)
    resumed, own = start(config)
    load_checkpoint(tmp_path / "checkpoint", resumed, own)
    steps(resumed, own, 2)
    result = HOOK.export(state=resumed, task=own)
    assert same(result, expected)
    assert result.measures["client_steps_max"] == expected.measures["client_steps_max"]


def test_export_is_independent_of_later_steps():
    state, own = start(ENDLESS)
    steps(state, own, 1)
    before = HOOK.export(state=state, task=own)
    kept = before.images.clone()
    steps(state, own, 1)
    assert torch.equal(before.images, kept)
    assert not torch.equal(HOOK.export(state=state, task=own).images, kept)


def test_the_training_images_are_left_alone():
    own = task()
    images = own.images.clone()
    condense(ddbench_fedd3, own, ENDLESS, 3)
    assert torch.equal(own.images, images)


# -- the idea ----------------------------------------------------------------------------------


def client_loss(state, own):
    """Each client's regression loss on all of its own data, (K,)."""
    losses = []
    for k, members in enumerate(state.clients.partition.members):
        real = state.clients.images(own, torch.tensor([k]), members[None])
        targets = ddbench_fedd3.centred(own.labels[members], own.num_classes)[None]
        own_support = (state.support[k : k + 1], state.targets[k : k + 1])
        outcome = kip.evaluate(ddbench_fedd3.Kernel(), 1e-6, own_support, (real, targets))
        losses.append(outcome.losses[0])
    return torch.stack(losses)


def test_support_images_learn_to_predict_their_own_clients_data():
    state, own = start(replace(ENDLESS, lr_images=0.02, batch_real=20))
    before = client_loss(state, own)
    steps(state, own, 60)
    assert (client_loss(state, own) < 0.7 * before).all()


def test_learned_labels_lower_the_loss_further():
    losses = []
    for learn in (False, True):
        state, own = start(replace(ENDLESS, lr_images=0.004, learn_labels=learn))
        steps(state, own, 30)
        losses.append(client_loss(state, own).sum())
    assert losses[1] < losses[0]


def test_clients_in_chunks_of_one_equal_clients_in_one_batch(monkeypatch):
    config = replace(ENDLESS, batch_real=10)
    together, own = start(config)
    steps(together, own, 5)
    monkeypatch.setitem(kip.CHUNK_BYTES, "cpu", 1)
    alone, own = start(config)
    steps(alone, own, 5)
    torch.testing.assert_close(alone.support, together.support, rtol=0, atol=1e-10)


def test_more_clients_reshuffle_nobody():
    few = HOOK.init(task=task(per_class=20), synthetic=None, config=Config(clients=5))
    # Twice the data for twice the clients: client 0 holds as many images of a class as before.
    many = HOOK.init(task=task(per_class=40, ipc=2), synthetic=None, config=Config(clients=10))
    assert few.clients.groups.shape[2] == many.clients.groups.shape[2] == 20
    for client in range(5):
        a, b = few.clients.generators[client], many.clients.generators[client]
        assert torch.equal(a.get_state(), b.get_state())
    positions = []
    for clients in (few.clients, many.clients):
        drawn = clients.draw(torch.tensor([3]), 4)[0]
        held = clients.groups[3].flatten().tolist()
        positions.append([held.index(i) for i in drawn.tolist()])
    assert positions[0] == positions[1]


def test_a_stopped_client_is_left_where_it_is():
    state, own = start(ENDLESS)
    steps(state, own, 1)
    state.active[2] = False
    frozen, moving = state.support[2].clone(), state.support[3].clone()
    generator = state.clients.generators[2].get_state()
    steps(state, own, 2)
    assert torch.equal(state.support[2], frozen)
    assert torch.equal(state.clients.generators[2].get_state(), generator)
    assert not torch.equal(state.support[3], moving)
    assert state.taken.tolist() == [3, 3, 1, 3, 3]


def test_the_step_that_reaches_the_stop_accuracy_still_counts():
    state, own = start(replace(ENDLESS, stop_accuracy=-1.0))
    before = state.support.clone()
    with pytest.raises(Converged) as end:
        HOOK.condense_step(state=state, task=own, step=0)
    assert end.value.metrics["active"] == 0
    assert not torch.equal(state.support, before)
    measures = HOOK.export(state=state, task=own).measures
    assert measures["early_stopped_frac"] == 1
    assert measures["client_steps_max"] == 1


def test_draws_are_balanced_and_hold_nothing_twice():
    state, own = start(Config(clients=5))
    drawn = state.clients.draw(torch.tensor([0, 4]), 10)
    for client, row in zip((0, 4), drawn, strict=True):
        assert len(set(row.tolist())) == 10
        assert set(row.tolist()) <= set(state.clients.partition.members[client].tolist())
        classes = own.labels[row].bincount(minlength=10)
        assert sorted(classes[classes > 0].tolist()) == [5, 5]


def test_client_images_have_mean_0_and_deviation_1_in_every_channel():
    state, own = start(Config(clients=5), channels=3)
    members = state.clients.partition.members[1]
    images = state.clients.images(own, torch.tensor([1]), members[None])[0].unflatten(1, own.shape)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-12, rtol=0)
    deviation = images.std((0, 2, 3), correction=0)
    torch.testing.assert_close(deviation, torch.ones(3).double(), atol=1e-12, rtol=0)


# -- prototypes --------------------------------------------------------------------------------


def prototypes(distiller, ipc, clients=5):
    config = Config(clients=clients, client_distiller=distiller)
    own = task(ipc=ipc, per_class=20)
    return condense(ddbench_fedd3, own, config, clients), own


@pytest.mark.parametrize("distiller", ["class_mean", "kmeans", "gmm"])
def test_one_point_a_class_is_the_class_mean(distiller):
    result, own = prototypes(distiller, ipc=1)
    order = result.labels.argsort()
    means = torch.stack([own.images[own.labels == c].mean(0) for c in range(10)])
    torch.testing.assert_close(result.images[order], means, rtol=0, atol=1e-5)


def test_class_means_of_several_points_average_to_the_class_mean():
    result, own = prototypes("class_mean", ipc=4)
    for c in range(10):
        mean = own.images[own.labels == c].mean(0)
        torch.testing.assert_close(
            result.images[result.labels == c].mean(0), mean, rtol=0, atol=1e-5
        )


def test_kmeans_centres_are_means_of_their_own_points():
    result, own = prototypes("kmeans", ipc=2)
    for c in range(10):
        real = own.images[own.labels == c].flatten(1)
        centres = result.images[result.labels == c].flatten(1)
        nearest = torch.cdist(real, centres).argmin(1)
        for k in range(2):
            torch.testing.assert_close(centres[k], real[nearest == k].mean(0), rtol=0, atol=1e-4)


def test_random_clients_upload_their_own_training_images():
    config = Config(clients=5, client_distiller="random")
    own = task()
    result = condense(ddbench_fedd3, own, config, 0)
    holders = partition.decode(result.provenance["partition"])
    for image, label, client in zip(
        result.images, result.labels, result.columns["client_id"], strict=True
    ):
        distances = (own.images - image).abs().flatten(1).amax(1)
        original = int(distances.argmin())
        assert distances[original] < 1e-5
        assert own.labels[original] == label
        assert holders[original] == client


class Meter:
    def __init__(self):
        self.flops = {}

    def add_flops(self, count, why):
        self.flops[why] = self.flops.get(why, 0) + count

    @contextmanager
    def excluding(self):
        yield


def test_what_scikit_learn_does_is_counted():
    meter = Meter()
    state, own = start(Config(clients=5, client_distiller="gmm"))
    with own.metered_by(meter):
        HOOK.condense_step(state=state, task=own, step=0)
    # 2 classes, each one component on 20 images of 144 pixels; at least one iteration and a start
    iteration = 4 * 20 * 144**2 + 4 * 144**3 // 3
    assert meter.flops["gmm"] % (2 * iteration) == 0
    assert meter.flops["gmm"] >= 4 * iteration


# -- the upload and the columns ----------------------------------------------------------------


def test_bytes_are_the_lengths_of_the_payloads(monkeypatch):
    sent = []
    pack = upload.pack
    monkeypatch.setattr(upload, "pack", lambda *a: sent.append(pack(*a)) or sent[-1])
    result = condense(ddbench_fedd3, task(), Config(clients=5), 2)
    assert len(sent) == 5
    assert result.measures["uplink_bytes_total"] == sum(len(payload) for payload in sent)
    assert result.measures["uplink_bytes_per_client_max"] == max(len(p) for p in sent)
    assert result.measures["downlink_bytes"] == 0
    # 200 training images of 144 bytes and a label; LeNet from and to 5 clients, 4 bytes a weight
    total = sum(len(payload) for payload in sent)
    assert result.measures["bytes_vs_raw"] == total / (200 * 145)
    lenet = sum(p.numel() for p in task().new_network("lenet").parameters())
    assert result.measures["bytes_vs_fedavg_round"] == total / (2 * 5 * 4 * lenet)


def test_the_server_may_be_anyones_architecture(monkeypatch):
    monkeypatch.setattr(budget, "canonical_architecture", lambda name: name)
    assert Config(server="theirs-w0.25").server == "theirs-w0.25"


def test_a_server_that_cannot_take_such_images_leaves_its_column_empty():
    result = condense(ddbench_fedd3, task(size=6), Config(clients=5), 2)
    assert result.measures["bytes_vs_fedavg_round"] is None


def test_uint8_payloads_are_nearly_four_times_smaller_and_nearly_the_same():
    full, small = (
        condense(ddbench_fedd3, task(size=28), Config(clients=5, payload=name), 2)
        for name in ("float32", "uint8")
    )
    ratio = full.measures["uplink_bytes_total"] / small.measures["uplink_bytes_total"]
    assert 3 < ratio < 4
    span = full.images.amax() - full.images.amin()
    assert (full.images - small.images).abs().max() <= span / 255


def test_clients_that_stay_away_or_drop_out_upload_nothing():
    config = Config(clients=5, participation=0.8, dropout=0.5, stop_accuracy=1.0)
    state, own = start(config)
    steps(state, own, 2)
    result = HOOK.export(state=state, task=own)
    assert len(result) == 2 * 2  # 5 clients, 4 take part, 2 of these drop out
    assert state.taken.tolist().count(0) == 1
    assert {key: result.measures[key] for key in ("clients", "participating", "dropped_out")} == {
        "clients": 5,
        "participating": 4,
        "dropped_out": 2,
    }
    assert len(result.measures["missing_classes"].split(", ")) == 6
    assert result.measures["effective_ipc"] == 0.4


@pytest.mark.parametrize("clients", [2, 5])
def test_one_client_always_uploads(clients):
    config = Config(clients=clients, classes_per_client=5, participation=0.01, dropout=0.99)
    result = condense(ddbench_fedd3, task(ipc=clients), config, 0)
    assert len(set(result.columns["client_id"].tolist())) == 1


def test_shares_of_clients_are_rounded_alike():
    # 0.29 x 100 is 28.999999999999996
    own = task(per_class=100)
    everyone = Config(clients=100, classes_per_client=1, partition="iid")
    took = [
        ddbench_fedd3._participants(own, replace(everyone, **share))
        for share in ({"participation": 0.29}, {"dropout": 0.29})
    ]
    assert int(took[0][0].sum()) == 29
    assert int((took[1][0] & ~took[1][1]).sum()) == 29


@pytest.mark.parametrize(
    "options",
    [
        {"payload": "uint8"},
        {"participation": 0.8, "dropout": 0.5},
        {"partition": "dirichlet", "client_distiller": "class_mean"},
    ],
)
def test_the_control_sends_real_images_of_the_same_clients_in_as_many_bytes(options):
    (control,) = INFO.controls
    config = Config(**{"clients": 5, **options})
    results = [
        condense(ddbench_fedd3, task(ipc=4), *asked)
        for asked in ((config, 3), (replace(config, **control["options"]), control["steps"]))
    ]
    row, beside = (result.measures for result in results)
    for same_in_both in ("uplink_bytes_total", "effective_ipc", "participating", "heterogeneity"):
        assert row[same_in_both] == beside[same_in_both]
    assert torch.equal(results[0].columns["client_id"], results[1].columns["client_id"])
    assert torch.equal(results[0].labels, results[1].labels)
    assert beside["client_steps_max"] == 0


def test_the_settings_of_the_check_take_every_step():
    options = {key: v for key, v in {**INFO.quick, **INFO.check}.items() if key != "steps"}
    state, own = start(Config(**options))
    steps(state, own, 4)
    assert state.taken.tolist() == [4] * 5


def test_the_columns_tell_the_federation():
    measures = condense(ddbench_fedd3, task(), ENDLESS, 3).measures
    assert measures["images_per_client"] == 2
    assert measures["effective_ipc"] == 1
    assert measures["classes_per_client"] == 2
    assert measures["heterogeneity"] == pytest.approx(0.8)
    assert measures["rounds"] == 1
    assert measures["client_steps_median"] == measures["client_steps_max"] == 3
    assert measures["early_stopped_frac"] == 0
    assert measures["ridge_bumps"] == 0
    assert 0 < measures["client_seconds_max"] <= measures["client_seconds_sum"]
    assert measures["client_seconds_sum"] == pytest.approx(5 * measures["client_seconds_max"])


# -- what is impossible, said before any work --------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0; expected more than 0"),
        ({"clients": 0}, "clients is 0; expected at least 1"),
        ({"client_distiller": "kpi"}, "client_distiller is 'kpi'; available: kip, random"),
        ({"partition": "noniid"}, "partition is 'noniid'; available: reference, iid, dirichlet"),
        ({"payload": "float16"}, "payload is 'float16'; available: float32, uint8"),
        ({"participation": 0.0}, "participation is 0.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"ridge": 0.0}, "ridge is 0.0"),
        ({"server": "lenett"}, "server: .*lenett.*lenet"),
        ({"server": "convnet-w"}, "server: .*convnet"),
    ],
)
def test_a_wrong_option_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


@pytest.mark.parametrize(
    ("options", "ipc", "message"),
    [
        # 4 x 3 classes: multiples of 12 images, ipc 6, 12, ...
        ({"clients": 4, "classes_per_client": 3}, 1, "nearest valid ipc is 6"),
        ({"clients": 4, "classes_per_client": 3}, 10, "nearest valid ipc is 12"),
        ({"clients": 10, "classes_per_client": 0}, 4, "nearest valid ipc is 10"),
        ({"clients": 3, "partition": "dirichlet"}, 1, "3 clients cannot share equally"),
        ({"clients": 500}, 50, "500 clients for 200 training images"),
        ({"clients": 4, "classes_per_client": 2}, 4, "leave 2 of 10 classes without a client"),
        ({"clients": 1, "classes_per_client": 11}, 1, "the data set has 10 classes"),
        ({"clients": 5, "batch_real": 9}, 1, "batch_real is 9"),
        ({"clients": 5, "batch_real": 50}, 1, "some client has 20 training images of a class"),
        ({"clients": 20, "partition": "iid", "batch_real": 20}, 20, "need 400 training images"),
    ],
)
def test_an_impossible_budget_is_known_at_plan_time_and_refused_by_init(options, ipc, message):
    config = Config(**options)
    assert message in INFO.needs(config, facts(ipc=ipc))
    with pytest.raises(Unsupported, match=message):
        start(config, ipc=ipc)


@pytest.mark.parametrize("clients", [1, 2, 3, 4, 5, 8, 10])
@pytest.mark.parametrize("ipc", [1, 3, 7])
def test_the_nearest_valid_ipc_is_valid_and_none_is_nearer(clients, ipc):
    config = Config(clients=clients, classes_per_client=10)
    plenty = (10_000,) * 10
    text = INFO.needs(config, facts(ipc, plenty))
    valid = [i for i in range(1, 200) if INFO.needs(config, facts(i, plenty)) is None]
    if text is None:
        assert ipc in valid
    else:
        nearest = int(text.split()[-1])
        assert abs(nearest - ipc) == min(abs(i - ipc) for i in valid)
        assert nearest in valid


def test_an_iid_client_without_enough_of_a_class_is_refused():
    with pytest.raises(Unsupported, match="some client has [0-3] training images of a class"):
        start(Config(clients=5, partition="iid", batch_real=40), ipc=5)


def test_a_dirichlet_draw_that_starves_clients_is_refused():
    config = Config(clients=10, partition="dirichlet", alpha=0.01, batch_real=20)
    with pytest.raises(Unsupported, match="raise alpha, or take fewer clients"):
        start(config)


def test_quick_is_possible_on_ten_classes():
    options = {key: value for key, value in INFO.quick.items() if key != "steps"}
    assert INFO.needs(Config(**options), facts(ipc=1, counts=(400,) * 10)) is None
    state, own = start(Config(**options))
    assert state.support.shape[:2] == (5, 2)
    assert sorted(state.labels.flatten().tolist()) == list(range(10))


def test_published_steps_depend_on_what_clients_do():
    published = {
        name: INFO.steps(Config(clients=7, client_distiller=name), 10)
        for name in ddbench_fedd3.DISTILLERS
    }
    assert published == {"kip": 3000, "random": 0, "class_mean": 7, "kmeans": 7, "gmm": 7}


def test_only_the_fits_that_need_it_load_scikit_learn():
    code = "import sys, ddbench_fedd3; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
