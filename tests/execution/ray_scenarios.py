"""What happens on a Ray cluster of several nodes on this machine; prints what it has seen as JSON.

A program of its own: Ray opens connections and leaves warnings that a test would stumble over.
`python ray_scenarios.py FOLDER` runs all; `python ray_scenarios.py FOLDER drive ADDRESS` is the
driver that gets killed.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
ROOT = Path(__file__).parents[2]
WATCHER = """
import os
from ddbench import hookimpl

@hookimpl
def job_started(job):
    print("visible:", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
"""


def kills():
    spec = importlib.util.spec_from_file_location("kills_script", ROOT / "benchmarks" / "kills.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["kills_script"] = module
    spec.loader.exec_module(module)
    return module


def run(folder, number, steps, observe=lambda work, event: None, engine="ray", **setting):
    """Do a run; return its Work."""
    from ddbench.discovery.extensions import Extensions
    from ddbench.execution.engines import Jobs, Work, engine_named
    from ddbench.execution.job_context import JobContext
    from ddbench.store.run_folder import RunFolder

    plan, found = kills().plan_of(number, steps)
    place = RunFolder(folder)
    place.create()
    setting = {"jobs": 2, "checkpoint_s": 0.1, **setting}
    context = JobContext(folder, folder.parent / "cache", **setting)
    work = Work(Jobs.left(plan, place), context, found)
    work.observe = lambda event: observe(work, event)
    work.options = {"jobs": str(setting["jobs"])} if engine == "ray" else {}
    engine_named(engine, Extensions(), {}).run(work)
    return work


def results(folder):
    from ddbench.store.run_folder import RunFolder, read_run

    records = read_run(RunFolder(folder))
    sets = {one.id: one.set_sha256 for one in records.condensations.values()}
    accuracies = {one.id: one.accuracies for one in records.evaluations.values()}
    statuses = [r.status for r in (*records.condensations.values(), *records.evaluations.values())]
    resumed = sum(bool(one.resumed) for one in records.condensations.values())
    return {"sets": sets, "accuracies": accuracies, "statuses": statuses, "resumed": resumed}


def once(act):
    """Return an observer that acts at the first step that a run tells of, with its events."""
    seen = []

    def observe(work, event):
        if event["event"] == "step" and "step" not in seen:
            act()
        seen.append(event["event"] + " lost" * bool(event.get("lost")))

    return observe, seen


def kill_worker():
    """Kill a worker of Ray that does a job, and nothing that it has started."""
    for process in psutil.process_iter(["name", "cmdline"]):
        if "ray::_do" in " ".join(process.info["cmdline"] or []):
            process.send_signal(signal.SIGKILL)
            return


def drive(folder, address):
    import ray

    ray.init(address=address, log_to_driver=False)
    run(folder, 2, 200, lambda work, event: print(event["event"], flush=True))


def killed_driver(place, address):
    words = [sys.executable, __file__, str(place), "drive", address]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as driver:
        for line in driver.stdout:
            if line == "step\n":
                break
        time.sleep(1.0)
        driver.kill()
    time.sleep(3.0)
    before = results(place)["statuses"]
    run(place, 2, 200)
    return {"before": before, **results(place)}


def main(place):
    import ray
    from ddbench.execution.engines import on_ray
    from ddbench.store.run_folder import RunError
    from ray.cluster_utils import Cluster

    on_ray._imported()
    seen = {}
    run(place / "local", 2, 20, engine="local")
    seen["local"] = results(place / "local")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False},
    )
    ray.init(address=cluster.address, log_to_driver=False)
    run(place / "ray", 2, 20)
    seen["ray"] = results(place / "ray")

    (place / "watcher.py").write_text(WATCHER)
    run(place / "gpus", 2, 60, gpus=("0", "1"), plugins=(place / "watcher.py",))
    logs = [path.read_text() for path in (place / "gpus").glob("condensations/*/log.txt")]
    seen["visible"] = sorted(text.split("visible: ")[1].split()[0] for text in logs)

    observe, events = once(kill_worker)
    run(place / "worker", 2, 150, observe)
    seen["worker"] = {**results(place / "worker"), "lost": events.count("put back lost")}

    looks = on_ray._Driver._check_nodes
    on_ray._Driver._check_nodes = lambda self, token: looks(self, token) and False
    run(place / "travels", 2, 20)
    on_ray._Driver._check_nodes = looks
    seen["travels"] = results(place / "travels")

    versions = on_ray._versions
    on_ray._versions = lambda: versions() | {"torch": "0.1"}
    try:
        run(place / "refused", 1, 3)
    except RunError as error:
        seen["refused"] = str(error)
    on_ray._versions = versions

    seen["driver"] = killed_driver(place / "driver", cluster.address)

    node = cluster.add_node(num_cpus=2)
    observe, events = once(lambda: cluster.remove_node(node, allow_graceful=False))
    run(place / "node", 4, 150, observe, jobs=4)
    seen["node"] = {**results(place / "node"), "lost": events.count("put back lost")}
    print(json.dumps(seen))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    if sys.argv[2:3] == ["drive"]:
        drive(Path(sys.argv[1]), sys.argv[3])
    else:
        main(Path(sys.argv[1]))
