import json
import math
import random
import statistics
import subprocess
import sys
from dataclasses import MISSING, fields

import pytest
from ddbench.reporting.leaderboard import grouped, load, table_format
from ddbench.reporting.leaderboard.curves import anytime, metrics_of, read_curve
from ddbench.reporting.leaderboard.scores import variance
from ddbench.store.records import Condensation
from ddbench.text import number_format

OTHER = "Another CPU, 1 thread, 2 jobs at once, float32"


def places(board):
    return {place.entry.label: place for place in board.places}


# -- accuracies --------------------------------------------------------------------------------


def test_accuracy_is_pooled_over_seeds_and_networks(made):
    made.row("random", [[0.4, 0.5], [0.6, 0.7]])
    (board,) = load(made.folder).boards
    score = board.places[0].score
    assert score.mean == pytest.approx(0.55)
    assert score.spread == pytest.approx(math.sqrt(0.05 / 3))  # by hand, n - 1
    assert score.seed_spread == pytest.approx(0.2 / math.sqrt(2))
    assert (score.seeds, score.networks) == (2, 2)


def test_one_network_has_no_spread(made):
    made.row("dm", [[0.8]])
    score = load(made.folder).boards[0].places[0].score
    assert math.isnan(score.spread) and math.isnan(score.seed_spread)


def test_the_variance_is_the_standard_library_s():
    draw = random.Random(0)
    for n in range(2, 40):
        values = [draw.random() * 10.0 ** draw.randint(-6, 0) for _ in range(n)]
        assert variance(values) == pytest.approx(statistics.variance(values), rel=1e-12)
    assert variance([0.1] * 3) == 0


def test_the_front_is_of_rows_that_no_other_is_better_and_cheaper_than(made):
    draw = random.Random(0)
    for n in range(12):
        seconds = draw.choice([1.0, 2.0, 3.0, 5.0])
        made.row(f"m{n}", [[draw.choice([0.5, 0.6, 0.7])]], costs={"condense_s": seconds})
    made.row("control", [[0.9]], control_of="m0", costs={"condense_s": 0.0})
    made.row("unscored", [], costs={"condense_s": 0.0})
    board = load(made.folder).boards[0]
    rows = [p for p in board.places if p.rank is not None]
    seconds = {p.entry.key: next(iter(p.costs.values())).seconds for p in rows}
    expected = {
        p.entry.key
        for p in rows
        if not any(
            other.score.mean > p.score.mean and seconds[other.entry.key] <= seconds[p.entry.key]
            for other in rows
        )
    }
    assert board.front == expected and len(expected) < len(rows)


def test_rows_of_another_setting_have_a_board_of_their_own(made):
    made.row("dm", [[0.8, 0.8]])
    made.row("fedd3", [[0.9, 0.9]], setting="federated")
    made.row("fedd3", [[0.5, 0.5]], setting="federated", control_of="fedd3", steps=0)
    boards = load(made.folder).boards
    assert [(board.setting, len(board.places)) for board in boards] == [("", 1), ("federated", 2)]
    assert len(grouped(boards)) == 2 and boards[0].best.entry.method == "dm"


def test_rows_rank_by_accuracy(made):
    made.row("random", [[0.4, 0.5]])
    made.row("dm", [[0.80, 0.82]])
    made.row("gm", [[0.79, 0.80]])
    board = load(made.folder).boards[0]
    found = [(place.entry.label, place.rank) for place in board.places]
    assert found == [("dm", 1), ("gm", 2), ("random", 3)]


def test_resolution_is_the_binomial_standard_error(made):
    made.row("dm", [[0.5]])
    data = load(made.folder).boards[0].data
    assert data.resolution(0.5) == pytest.approx(0.0158, abs=1e-4)
    assert data.resolution(0.73) == pytest.approx(0.0140, abs=1e-4)
    # Two more of each: 1,002 of 1,004 are right.
    assert data.resolution(1.0) == pytest.approx(math.sqrt(1002 * 2 / 1004**3))


def test_the_resolution_shown_is_never_zero(made):
    made.evaluation(made.condensation("dm"), [1.0], n_test=10_000)
    assert "resolution ±0.01 points" in table_format.data_caption(load(made.folder).boards[0])


def test_rows_of_the_same_images_share_a_rank(made):
    made.row("dm", [[0.9]])
    for row in ("herding", "kmeans"):
        id = made.condensation(row, set_sha256="same")
        made.evaluation(id, [0.8], set_sha256="same")
    made.row("gm", [[0.7]])
    board = load(made.folder).boards[0]
    found = {place.entry.label: place.rank for place in board.places}
    assert found == {"dm": 1, "herding": 2, "kmeans": 2, "gm": 4}


def test_rows_of_one_set_in_another_seed_are_apart(made):
    for seed, row in enumerate(("herding", "kmeans")):
        id = made.condensation(row, seed, set_sha256="same")
        made.evaluation(id, [0.8], set_sha256="same")
    assert [place.rank for place in load(made.folder).boards[0].places] == [1, 2]


def test_own_recipe_stands_apart_from_the_common_protocol(made):
    id = made.condensation("datm", labels="soft")
    made.evaluation(id, [0.7, 0.72])
    made.evaluation(id, [0.9, 0.92], own_recipe=True, labels="soft", recipe={"lr": 0.02})
    (board,) = load(made.folder).boards
    (place,) = board.places
    assert place.score.mean == pytest.approx(0.71)
    assert place.own.mean == pytest.approx(0.91)
    assert board.has_own


def test_the_baseline_is_the_random_row_with_most_seeds(made):
    made.row("random", [[0.4], [0.5]])
    made.row("random", [[0.9]], architecture="mlp", control_of="fedd3")
    board = load(made.folder).boards[0]
    assert board.baseline.score.seeds == 2
    assert board.best_method is None


def test_controls_have_no_rank_and_a_label_of_their_own(made):
    made.row("datm", [[0.8]])
    made.row("datm", [[0.9]], steps=0, control_of="datm")
    board = load(made.folder).boards[0]
    found = places(board)
    assert set(found) == {"datm", "datm [steps=0]"}
    assert found["datm"].rank == 1 and found["datm [steps=0]"].rank is None


def test_a_row_asked_for_by_itself_is_no_control(made):
    made.condensation("random", 0, control_of="fedd3")
    made.condensation("random", 1)
    (entry,) = load(made.folder).entries
    assert not entry.is_control


def test_rows_of_one_name_are_told_apart_by_what_differs(made):
    made.row("dm", [[0.8]], config={"lr_images": 1.0, "batch_real": 64})
    made.row("dm", [[0.7]], config={"lr_images": 1.0, "batch_real": 256})
    assert set(places(load(made.folder).boards[0])) == {
        "dm [batch_real=64]",
        "dm [batch_real=256]",
    }


# -- sweeps, and code that has been edited -----------------------------------------------------


def test_rows_of_an_earlier_version_that_hold_options_in_their_name_join_the_others(made):
    made.row("dm[lr_images=2.0]", [[0.8]], method="dm", config={"lr_images": 2.0})
    made.row("dm", [[0.7]], config={"lr_images": 1.0})
    made.row("dm", [[0.6]], steps=0, control_of="dm[lr_images=2.0]", config={"lr_images": 2.0})
    board = load(made.folder).boards[0]
    assert set(places(board)) == {
        "dm [lr_images=2.0]", "dm [lr_images=1.0]", "dm [lr_images=2.0, steps=0]",
    }  # fmt: skip


def test_each_row_of_a_sweep_is_held_against_its_own_control(made):
    for value, accuracy in ((1.0, 0.8), (2.0, 0.9)):
        config = {"lr_images": value, "batch_real": 8}
        made.row("dm", [[accuracy, accuracy]], config=config)
        start = [[accuracy - 0.1 * value] * 2]
        made.row("dm", start, config=config, steps=0, control_of="dm")
    lines = table_format.against_controls(load(made.folder).boards[0])
    assert {line.partition(" points")[0] for line in lines} == {
        "dm [lr_images=2.0] (real init) against dm [lr_images=2.0, steps=0] (real init): +20.0",
        "dm [lr_images=1.0] (real init) against dm [lr_images=1.0, steps=0] (real init): +10.0",
    }


def test_one_control_stands_beside_all_rows_of_a_sweep(made):
    for value in (2.0, 3.0):
        made.row("dm", [[0.8, 0.8]], config={"lr_images": value})
    made.row("dm", [[0.7, 0.7]], config={"lr_images": 1.0}, steps=0, control_of="dm")
    assert len(table_format.against_controls(load(made.folder).boards[0])) == 2


def test_controls_of_the_same_sets_are_one_row(made):
    for value in (2.0, 3.0):
        made.row("dm", [[0.8]], config={"lr_images": value})
        id = made.condensation("dm", config={"lr_images": value}, steps=0, control_of="dm",
                               set_sha256="start")  # fmt: skip
        made.evaluation(id, [0.7], set_sha256="start")
    found = load(made.folder)
    assert [entry.is_control for entry in found.entries].count(True) == 1
    assert len(found.boards[0].places) == 3


def test_old_code_can_stand_beside_new(made):
    old, new = "sha256:aaaaaaaaaa", "sha256:bbbbbbbbbb"
    for code, accuracy in ((old, 0.7), (new, 0.8)):
        for seed in (0, 1):
            id = made.condensation("mine", seed, code=code, options_id=f"same-{seed}")
            made.evaluation(id, [accuracy])
    assert list(places(load(made.folder).boards[0])) == ["mine"]
    both = load(made.folder, old_code=True)
    assert both.superseded == 0
    names = {
        "mine [code=aaaaaa]": (0.7, 2, True),
        "mine [code=bbbbbb]": (0.8, 2, False),
    }
    found = places(both.boards[0])
    assert {
        name: (place.score.mean, place.score.seeds, bool(place.entry.notes))
        for name, place in found.items()
    } == names


def test_what_one_code_has_done_twice_stands_once_beside_other_code(made):
    for id in ("mine-lr-1.0-abc", "mine-abc"):
        made.evaluation(made.condensation("mine", id=id, options_id="same"), [0.8])
    [entry] = load(made.folder, old_code=True).entries
    assert entry.ids == ("mine-abc",)


def test_every_row_of_other_code_than_the_last_run_had_is_marked(made):
    made.row("dm", [[0.8]], code="1.0", config={"lr_images": 2.0})
    made.row("dm", [[0.8]], code="1.1")
    made.row("gm", [[0.7]], code="1.0")
    made.manifest(code={"dm": "1.1", "gm": "1.0"})
    noted = {entry.label for entry in load(made.folder).entries if entry.notes}
    assert noted == {"dm [lr_images=2.0, code=1.0]"}
    made.manifest(code={"dm": "1.0"}, started="2026-01-02")
    noted = {entry.label for entry in load(made.folder).entries if entry.notes}
    assert noted == {"dm [lr_images=1.0, code=1.1]"}


def test_rows_that_were_kept_stale_stay_marked_in_later_runs(made):
    [kept] = made.row("dm", [[0.8]])
    [other] = made.row("gm", [[0.7]])
    plan = {"evaluations": [], "skipped": []}
    made.manifest(plan={**plan, "condensations": [kept], "kept_stale": [kept]})
    made.manifest(plan={**plan, "condensations": [other], "kept_stale": []}, started="2026-01-02")
    notes = {entry.row: entry.notes for entry in load(made.folder).entries}
    assert notes == {"dm": ("made by code that has been edited since (2026-01-01)",), "gm": ()}
    made.manifest(plan={**plan, "condensations": [kept], "kept_stale": []}, started="2026-01-03")
    assert not any(entry.notes for entry in load(made.folder).entries)  # the code is back


# -- what is compared with what ----------------------------------------------------------------


def test_protocols_datasets_ipc_and_architectures_are_never_ranked_together(made):
    first = made.condensation("dm")
    made.evaluation(first, [0.5])
    made.evaluation(first, [0.6], protocol="dc300")
    made.evaluation(first, [0.7], architecture="alexnet")
    made.row("dm", [[0.8]], dataset="toy", dataset_fingerprint="70y")
    second = made.condensation("dm", ipc=10)
    made.evaluation(second, [0.9])
    keys = [(b.dataset, b.ipc, b.architecture, b.protocol) for b in load(made.folder).boards]
    assert keys == [
        ("mnist-mini", 1, "convnet-w32", "dc300"),
        ("mnist-mini", 1, "convnet-w32", "quick"),
        ("mnist-mini", 1, "alexnet", "quick"),
        ("mnist-mini", 10, "convnet-w32", "quick"),
        ("toy", 1, "convnet-w32", "quick"),
    ]


def test_one_protocol_name_with_other_constants_is_another_board(made):
    id = made.condensation("dm")
    made.evaluation(id, [0.5])
    made.evaluation(id, [0.6], recipe={"epochs": 5})
    boards = load(made.folder).boards
    assert [len(board.places) for board in boards] == [1, 1]
    assert len({board.protocol_name for board in boards}) == 2


def test_a_repeated_evaluation_counts_once_and_the_newest(made):
    id = made.condensation("dm")
    made.evaluation(id, [0.5, 0.5], ended="2026-01-01")
    made.evaluation(id, [0.6, 0.6], ended="2026-01-02")
    score = load(made.folder).boards[0].places[0].score
    assert (score.mean, score.networks) == (pytest.approx(0.6), 2)


def test_datasets_of_one_name_with_other_content_are_apart(made):
    made.row("dm", [[0.5]], dataset_fingerprint="aaaaaaaaaa")
    made.row("dm", [[0.6]], dataset_fingerprint="bbbbbbbbbb")
    assert [b.dataset_name for b in load(made.folder).boards] == [
        "mnist-mini (aaaaaaaa)",
        "mnist-mini (bbbbbbbb)",
    ]


def test_times_are_means_inside_one_class_of_hardware(made):
    for seed, (seconds, machine) in enumerate([(10, "A"), (20, "A"), (99, "B")]):
        id = made.condensation("dm", seed, costs={"condense_s": seconds}, hardware_class=machine)
        made.evaluation(id, [0.5], hardware_class=machine, train_s=[seconds / 10])
    place = load(made.folder).boards[0].places[0]
    assert {k: (c.own_s, c.seeds) for k, c in place.costs.items()} == {"A": (16, 2), "B": (100, 1)}
    assert {k: t.train_s for k, t in place.training.items()} == {"A": 1.5, "B": 9.9}


def test_artifacts_count_in_full_and_their_share_is_known(made):
    made.row("datm", [[0.5]], costs={"artifact_s": 33.0, "flops_artifact": 6_000_000_000})
    (cost,) = load(made.folder).boards[0].places[0].costs.values()
    assert cost.seconds == 44 and cost.artifact_share == 0.75
    assert cost.flops == 8e9


def test_code_that_has_changed_supersedes(made):
    old = made.condensation("dm", code="1", options_id="same")
    new = made.condensation("dm", code="2", options_id="same")
    made.evaluation(old, [0.9])
    made.evaluation(new, [0.5])
    found = load(made.folder)
    (place,) = found.boards[0].places
    assert place.score.mean == 0.5 and place.score.seeds == 1
    assert found.superseded == 1


def test_seeds_of_other_code_are_not_averaged(made):
    made.row("dm", [[0.9]], code="1")
    id = made.condensation("dm", 1, code="2")
    made.evaluation(id, [0.5])
    assert set(places(load(made.folder).boards[0])) == {"dm [code=1]", "dm [code=2]"}


def test_an_evaluation_of_a_set_that_has_changed_does_not_count(made):
    id = made.condensation("dm")
    made.evaluation(id, [0.9], set_sha256="of an earlier set")
    other = made.condensation("gm")
    made.evaluation(other, [0.5])
    found = load(made.folder)
    assert found.stale_evaluations == 1
    dm = places(found.boards[0])["dm"]
    assert not dm.score.known and dm.trouble == ("seed 0: not evaluated yet",)


# -- failures ----------------------------------------------------------------------------------


def test_failed_seeds_are_shown_beside_the_mean_of_the_others(made):
    made.row("dm", [[0.8], [0.9]])
    made.condensation("dm", 2, status="failed", reason="ValueError: boom")
    place = load(made.folder).boards[0].places[0]
    assert place.score.mean == pytest.approx(0.85) and place.score.seeds == 2
    assert place.trouble == ("seed 2 failed: ValueError: boom",)


def test_a_failed_evaluation_is_trouble_of_its_board_alone(made):
    id = made.condensation("dm")
    made.evaluation(id, [0.8])
    made.evaluation(id, architecture="vgg11", status="failed", reason="too deep")
    other = made.condensation("gm")
    made.evaluation(other, [0.7], architecture="vgg11")
    convnet, vgg = load(made.folder).boards
    assert places(convnet)["dm"].trouble == ()
    assert places(vgg)["dm"].trouble == ("seed 0: evaluation failed: too deep",)


def test_failed_and_skipped_jobs_and_what_was_never_planned_are_troubles(made):
    made.condensation("dm", status="failed", reason="boom")
    made.condensation("gm", status="skipped", reason="cannot")
    absent = {"row": "x", "dataset": "cifar10", "architecture": "convnet", "init": "real",
              "ipc": 1, "seed": 0, "reason": "absent", "failed": False}  # fmt: skip
    skipped = [absent, absent | {"seed": 1}, absent | {"row": "bad", "failed": True}]
    made.manifest(plan={"condensations": [], "evaluations": [], "skipped": skipped})
    found = [(t.status, t.reason, t.seeds) for t in load(made.folder).troubles]
    assert found == [
        ("failed", "boom", (0,)),
        ("skipped", "cannot", (0,)),
        ("skipped", "absent", (0, 1)),
        ("failed", "absent", (0,)),
    ]


def test_what_a_later_plan_did_is_no_longer_left_out(made):
    made.row("dm", [[0.8]])
    skipped = {"row": "dm", "dataset": "mnist-mini", "architecture": "convnet-w32",
               "init": "real", "ipc": 1, "seed": 0, "reason": "data absent"}  # fmt: skip
    made.manifest(plan={"skipped": [skipped]})
    assert load(made.folder).troubles == []


def test_files_that_do_not_hold_are_named_and_never_fatal(made):
    made.row("dm", [[0.8]])
    torn = made.folder.evaluation("torn")
    torn.write_text('{"schema": 1, "kind": "evaluation", "id": "to')
    for id, field in {"newer": {"schema": 99}, "words": {"accuracies": "many"},
                      "nan": {"accuracies": [None]}}.items():  # fmt: skip
        made.evaluation(None, id=id)
        made.spoil(id, **field)
    made.condensation("gm", id="costless")
    record = json.loads(made.folder.result("costless").read_text())
    made.folder.result("costless").write_text(json.dumps(record | {"costs": None}))
    made.manifest(plan="none")
    found = load(made.folder)
    names = {path.stem if path.stem != "result" else path.parent.name
             for path, _ in found.records.unreadable}  # fmt: skip
    assert names == {"torn", "newer", "words", "nan", "costless", "here-0007"}
    assert [place.entry.label for place in found.boards[0].places] == ["dm"]
    reasons = {path.stem: reason for path, reason in found.records.unreadable}
    assert reasons["words"] == "accuracies is 'many'; expected a list"


def test_an_empty_folder_has_an_empty_leaderboard(made):
    found = load(made.folder)
    assert (found.boards, found.entries, found.troubles) == ([], [], [])
    assert found.rows == []


def test_records_without_optional_fields_are_read(made):
    id = made.condensation("dm")
    record = json.loads(made.folder.result(id).read_text())
    needed = {f.name for f in fields(Condensation) if f.default is f.default_factory is MISSING}
    needed |= {"schema", "kind", "status", "set_sha256", "costs"}
    costs = record["costs"] | {"peak_memory": None, "flops_init": None}
    kept = {name: record[name] for name in needed} | {"costs": costs}
    made.folder.result(id).write_text(json.dumps(kept))
    made.evaluation(id, [0.5])
    place = load(made.folder).boards[0].places[0]
    assert place.score.mean == 0.5


# -- references, curves, plain data ------------------------------------------------------------


def test_the_reference_is_the_longest_training_whatever_its_accuracy(made):
    made.row("dm", [[0.8]])
    made.evaluation(None, [0.98], protocol="whole-quick", images=4000, recipe={"epochs": 8})
    made.evaluation(None, [0.97], protocol="whole", images=4000, recipe={"epochs": 20})
    made.evaluation(None, [0.99], protocol="odd", images=4000, recipe={"epochs": "many"})
    found = load(made.folder)
    assert len(found.references) == 3
    assert found.boards[0].reference.score.mean == 0.97
    row = found.rows[0]
    assert row["lost_to_whole"] == pytest.approx(0.17)


def test_snapshots_make_a_curve_over_cost_and_no_row(made):
    id = made.condensation("dm", steps=4, snapshots=[0, 2],
                           costs={"artifact_s": 5.0, "steps_done": 4, "flops_init": 8e8,
                                  "flops_export": 2e8})  # fmt: skip
    made.curve(id, {"step": [0, 1, 2, 3], "seconds": [2, 4, 6, 10], "loss": [4, 3, 2, 1]})
    made.evaluation(id, [0.3], snapshot=0)
    made.evaluation(id, [0.6], snapshot=2, set_sha256="of the snapshot")
    made.evaluation(id, [0.8])
    found = load(made.folder)
    (board,) = found.boards
    assert board.places[0].score.mean == 0.8
    ((entry, moments),) = anytime(found.results, made.folder, board)
    assert [m.step for m in moments] == [0, 2, 4]
    assert [m.seconds for m in moments] == [5.5, 9.5, 16.0]  # artifacts 5, init 0.5, the steps
    assert [m.flops for m in moments] == [8e8, 1.3e9, 2e9]  # the init, half of the steps, all
    assert [m.score.mean for m in moments] == [0.3, 0.6, 0.8]


def test_snapshots_by_the_own_recipe_are_a_curve_apart(made):
    id = made.condensation("datm", snapshots=[0])
    for accuracy, where in ((0.3, {"snapshot": 0}), (0.5, {})):
        made.evaluation(id, [accuracy], **where)
        made.evaluation(id, [accuracy + 0.2], own_recipe=True, **where)
    found = load(made.folder)
    for own, expected in ((False, [0.3, 0.5]), (True, [0.5, 0.7])):
        ((_, moments),) = anytime(found.results, made.folder, found.boards[0], own)
        assert [m.score.mean for m in moments] == pytest.approx(expected)


def test_a_torn_curve_keeps_its_whole_rows(made):
    id = made.condensation("dm")
    (made.folder.condensation(id) / "curve.csv").write_text("step,loss,flat\n0,1.5,\n1,1.2,\n2,")
    curve = read_curve(made.folder, id)
    assert curve["loss"][:2] == [1.5, 1.2]
    assert metrics_of(curve) == ["loss"]
    assert read_curve(made.folder, "no such") == {}


def test_loading_imports_no_torch(made):
    made.row("dm", [[0.8]])
    code = (
        "import sys; from ddbench.reporting.leaderboard import load; "
        "from ddbench.store.run_folder import open_run;"
        f"load(open_run({str(made.folder.root)!r})); print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0213, "0.021"), (3.456, "3.46"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_seconds_have_three_digits(value, text):
    assert number_format.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1_420_000, "1.42 M"), (999_700, "1 M"), (2.5e18, "2,500 P")],
)
def test_counts_have_si_prefixes(value, text):
    assert number_format.count(value) == text


def test_words_of_numbers():
    assert number_format.points(0.8613, 0.0081) == "86.1 ± 0.8"
    assert number_format.points(math.nan) == "–"
    assert number_format.count(5e9, lower_bound=True) == "≥ 5 G"
    assert number_format.size(31_440) == "30.7 KiB"
    assert number_format.duration(200) == "3 min 20 s"
    assert number_format.listed(["a", "b", "c"]) == "a, b and c"
    assert [number_format.number(x) for x in (None, True, 12345, 0.123456, "x")] == [
        "–", "yes", "12,345", "0.1235", "x",
    ]  # fmt: skip
