"""Work and assignments: what an engine of any kind stands on; the engine that the docs show."""

import importlib.util
import pickle
import re
from pathlib import Path

import pytest
from ddbench import Engine
from ddbench.contract.hookspecs import hookimpl
from ddbench.discovery.extensions import Extensions
from ddbench.execution.engines import Jobs, Work, engine_named
from ddbench.execution.engines.catalogue import engines
from ddbench.execution.job_context import JobContext
from ddbench.planning.jobs import Plan
from ddbench.store.atomic_files import claimed
from ddbench.store.run_folder import RunError, RunFolder, read_run

DOCS = Path(__file__).parents[2] / "docs"


def work_of(kills, folder, jobs=1, steps=3, **setting) -> Work:
    plan, found = kills.plan_of(jobs, steps)
    run = RunFolder(folder)
    run.create()
    context = JobContext(folder, folder.parent / "cache", **setting)
    return Work(Jobs.left(plan, run), context, found)


def accuracies(folder):
    return {r.id: r.accuracies for r in read_run(RunFolder(folder)).evaluations.values()}


# -- engines -------------------------------------------------------------------------------------


def test_engines_come_through_the_hook_and_ours_keep_their_names():
    class Mine:
        @hookimpl
        def register_engines(self):
            return {"mine": Engine("mine", lambda work: None, "mine", {"speed": "how fast"})}

    class Thief:
        @hookimpl
        def register_engines(self):
            return {"local": Engine("local", lambda work: None, "another")}

    extensions = Extensions({"mine": Mine(), "thief": Thief()})
    assert {"inline", "local", "mine"} <= set(engines(extensions))
    assert engine_named("local", extensions, {}).summary.endswith("the default")
    assert "local is already registered" in extensions.failures["thief"]
    assert engine_named("mine", extensions, {"speed": "9"}).name == "mine"
    with pytest.raises(RunError, match="no option 'sped'; it has: speed"):
        engine_named("mine", extensions, {"sped": "9"})
    with pytest.raises(RunError, match="--engine loca: there is no such engine; .*local"):
        engine_named("loca", extensions, {})


def test_the_engine_that_the_docs_show_does_a_run_and_stops_it(kills, tmp_path, monkeypatch):
    text = (DOCS / "extending.md").read_text()
    [code] = [c for c in re.findall(r"^```python\n(.*?)^```", text, re.S | re.M) if "Pool" in c]
    assert len(code.splitlines()) <= 62
    (tmp_path / "pool.py").write_text(code)
    spec = importlib.util.spec_from_file_location("pool", tmp_path / "pool.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    engine = engines(Extensions({"pool": module}))["pool"]
    work = work_of(kills, tmp_path / "run", steps=200, checkpoint_s=60.0)
    seen = []
    work.observe = lambda event: seen.append(event["event"])
    work.stop = lambda: "step" in seen
    engine.run(work)
    assert work.jobs.left_over == 2 and not work.jobs.running
    assert list((tmp_path / "run").glob("condensations/*/checkpoint/*"))
    work = work_of(kills, tmp_path / "run", steps=200)
    engine.run(work)
    [record] = read_run(RunFolder(tmp_path / "run")).condensations.values()
    assert record.status == "done" and record.resumed and len(accuracies(tmp_path / "run")) == 1


# -- assignments ---------------------------------------------------------------------------------


def test_an_assignment_that_has_crossed_a_process_border_does_its_job(kills, tmp_path):
    work = work_of(kills, tmp_path / "run")
    job = next(work.ready())
    steps = []
    outcome = pickle.loads(pickle.dumps(work.start(job)))(report=steps.append)
    work.end(job, outcome)
    assert outcome["event"] == "end" and work.jobs.ended[job.id].status == "done"
    assert steps and steps[-1]["of"] == 3
    evaluation = next(work.ready())
    with claimed(work.jobs.folder.claim(evaluation.id)) as free:
        assert free and work.start(evaluation)()["event"] == "claimed"
    assert work.assignment(evaluation, work.context)(stop=lambda: True)["event"] == "stopped"


def test_an_evaluation_whose_set_is_not_seen_yet_is_put_back(kills, tmp_path):
    work = work_of(kills, tmp_path / "run")
    [evaluation] = [job for job in work.jobs.pending if job is not next(work.jobs.ready())]
    assert work.assignment(evaluation, work.context)()["event"] == "claimed"


# -- the queue -----------------------------------------------------------------------------------


def test_a_job_that_is_lost_is_tried_twice_more_and_then_a_row(kills, tmp_path, monkeypatch):
    monkeypatch.setattr("ddbench.execution.engines.work.CLAIM_WAIT", 0.0)
    work = work_of(kills, tmp_path / "run")
    for _ in range(3):
        job = next(work.ready())
        work.start(job)
        work.lost(job, "its node has gone")
    assert work.jobs.ended[job.id].reason == "its node has gone"
    assert not work.left and len(work.jobs.blocked) == 1


def test_what_another_run_has_ended_is_taken_note_of_and_not_started(kills, tmp_path):
    work, other = (work_of(kills, tmp_path / "run", jobs=2) for _ in range(2))
    [first, _] = other.ready()
    other.end(first, other.start(first)())
    ready = [job.id for job in work.ready()]
    assert first.id not in ready and work.jobs.ended[first.id].status == "done"


def test_each_job_has_a_place_of_its_own_on_the_gpus(kills, tmp_path):
    work = work_of(kills, tmp_path / "run", jobs=3, gpus=("0", "1"), jobs_per_gpu=1)
    work.slots, work.jobs_at_once = ["0", "1"], 2
    jobs = list(work.ready())
    gpus = [work.start(job).context.gpus for job in jobs[:2]]
    assert gpus == [("0",), ("1",)]
    work.put_back(jobs[0])
    assert work.start(jobs[2]).context.gpus == ("0",)


def test_the_longest_jobs_start_first_with_what_hangs_on_them(kills, tmp_path):
    plan, _ = kills.plan_of(3, 3)
    first, second, third = plan.condensations
    seconds = {first.id: 1.0, second.id: 2.0, third.id: 1.0}
    seconds |= {job.id: 5.0 for job in plan.evaluations if job.condensation == third.id}
    order = [job.id for job in Jobs.left(plan, RunFolder(tmp_path), seconds).pending]
    evaluated = next(job.id for job in plan.evaluations if job.condensation == third.id)
    assert order[:4] == [third.id, evaluated, second.id, first.id]
    assert order != [job.id for job in Jobs.left(plan, RunFolder(tmp_path)).pending]


def test_an_empty_queue_is_not_alive(tmp_path):
    jobs = Jobs.left(Plan(), RunFolder(tmp_path))
    assert not jobs.alive and jobs.total == 0
