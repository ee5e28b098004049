"""What metering costs, and how far the sampled FLOP count is from a full one.

    python benchmarks/metering.py [--threads 1] [--rounds 5] [--steps 200] [--device cpu]

Cost: a DM-like and a GM-like step of ConvNet-w32 run bare, inside a StepMeter on a step that it
only times, and on a step that it counts; the three take turns, and medians are compared, of CPU
seconds where the device is the CPU (other work on the machine disturbs them less). The last
columns put these together for a loop of `--steps` steps: what stays in the reported time, and
what is added to the wall time.

Error: loops whose costs are constant, cyclic (a network trained every 10 steps), or falling run
once under a StepMeter and once under a full count, on tensors without data. Then the steps of every
installed method, with its settings of the preset quick, on small data.
"""

import argparse
import contextlib
import statistics
import tempfile
import time

import torch
from ddbench import architectures, inits
from ddbench.contract.config import make_config
from ddbench.contract.hookspecs import Converged
from ddbench.discovery import methods
from ddbench.meter import StepMeter, count_flops, hardware, hardware_class, warm_up
from ddbench.meter.clock import Clock
from ddbench.testing import toy_task
from torch.nn import functional

SHAPE, CLASSES = (1, 28, 28), 10


class Workload:
    """Random images of some classes, one synthetic image each, on one device."""

    def __init__(self, device, batch, classes=CLASSES, architecture="convnet-w32"):
        generator = torch.Generator().manual_seed(0)
        real = torch.randn(classes, batch, *SHAPE, generator=generator)
        self.real = real.to(device)
        self.images = torch.randn(classes, *SHAPE, generator=generator).to(device).requires_grad_()
        self.labels = torch.arange(classes, device=device)
        self.optimizer = torch.optim.SGD([self.images], lr=0.1, momentum=0.5)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = architectures.build(architecture, SHAPE, CLASSES).to(device)

    def distribution_matching(self):
        """Match the mean embedding of each class."""
        loss = 0.0
        for c in range(len(self.images)):
            with torch.no_grad():
                target = self.network.embed(self.real[c]).mean(0)
            embedding = self.network.embed(self.images[c : c + 1]).mean(0)
            loss = loss + (target - embedding).square().sum()
        self.update(loss)

    def gradient_matching(self):
        """Match the gradients of each class, a class at a time."""
        self.optimizer.zero_grad()
        parameters = list(self.network.parameters())
        for c in range(len(self.images)):
            labels = self.labels[c].expand(len(self.real[c]))
            loss = functional.cross_entropy(self.network(self.real[c]), labels)
            target = torch.autograd.grad(loss, parameters)
            loss = functional.cross_entropy(self.network(self.images[c : c + 1]), labels[:1])
            gradient = torch.autograd.grad(loss, parameters, create_graph=True)
            distance = sum((a - b).square().sum() for a, b in zip(target, gradient, strict=True))
            (grad,) = torch.autograd.grad(distance, self.images)
            self.images.grad = grad if self.images.grad is None else self.images.grad + grad
        self.optimizer.step()

    def update(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def train(self, rows):
        """One pass forward and backward over `rows` real images."""
        self.network(self.real[0, :rows]).square().mean().backward()
        self.network.zero_grad()


def seconds_of(device, block):
    """Return the CPU seconds of `block`, or on another device its wall seconds."""
    read = time.process_time if torch.device(device).type == "cpu" else Clock(device).seconds
    start = read()
    block()
    return read() - start


def metered(steps, step):
    with steps:
        step()


def step_costs(step, device, rounds):
    """Return median seconds of a bare, a timed and a counted step, taken in turns."""
    timed = StepMeter(device, count=False)
    taken = {"bare": [], "timed": [], "counted": []}
    step()
    for _ in range(rounds):
        taken["bare"].append(seconds_of(device, step))
        taken["timed"].append(seconds_of(device, lambda: metered(timed, step)))
        fresh = StepMeter(device)  # counts its first step
        taken["counted"].append(seconds_of(device, lambda fresh=fresh: metered(fresh, step)))
    return {name: statistics.median(values) for name, values in taken.items()}


def bookkeeping(device, repeats=20_000):
    """Return seconds that entering and leaving the meter takes, apart from any step."""
    timed = StepMeter(device, count=False)
    start = time.perf_counter()
    for _ in range(repeats):
        with timed:
            pass
    return (time.perf_counter() - start) / repeats


def counted_in(steps):
    """Return how many of the first `steps` steps are counted."""
    meter = StepMeter("cpu")
    for _ in range(steps):
        metered(meter, lambda: None)
    return meter.state()["phases"][0]["counts"]


def print_costs(arguments):
    own = bookkeeping(arguments.device)
    counted = counted_in(arguments.steps)
    print(f"Entering and leaving the meter: {own * 1e6:.2f} us a step. ", end="")
    print(f"Of {arguments.steps} steps {counted} are counted.\n")
    print("| step | batch | bare | timed step | counted step | loop: in its time | loop: wall |")
    print("|---|---|---|---|---|---|---|")
    for name in ("distribution_matching", "gradient_matching"):
        for batch in arguments.batch:
            step = getattr(Workload(arguments.device, batch), name)
            cost = step_costs(step, arguments.device, arguments.rounds)
            bare, timed, full = cost["bare"], cost["timed"], cost["counted"]
            loop = counted / arguments.steps * (full / bare - 1) + own / bare
            print(
                f"| {name.replace('_', ' ')} | {batch} | {bare * 1e3:.1f} ms "
                f"| {timed / bare - 1:+.1%} | {full / bare - 1:+.1%} "
                f"| {own / bare:.4%} | {loop:+.2%} |"
            )


def error_loops(work, steps):
    """Return name, cycle and one function per step for each kind of loop."""

    def cyclic(step):
        work.distribution_matching()
        if step % 10 == 9:
            work.train(64)

    def dropping(step):  # ten clients, leaving one by one in the second half
        for client in range(10):
            if step < steps * (0.5 + 0.05 * client):
                work.train(4)

    return {
        "constant": (1, lambda step: work.distribution_matching()),
        "cyclic, T = 10": (10, cyclic),
        "falling, 64 to 4 images": (1, lambda step: work.train(64 - 60 * step // steps)),
        "decaying, half-life of a quarter": (
            1,
            lambda step: work.train(max(1, int(64 * 0.5 ** (4 * step / steps)))),
        ),
        "ten clients drop out": (1, dropping),
        "half the cost, from one step to the next": (
            1,
            lambda step: work.train(64 if step < 0.6 * steps else 32),
        ),
    }


def print_errors(arguments):
    steps = arguments.steps
    work = Workload("meta", 64, architecture="mlp")  # counts do not depend on values
    print(f"\n| FLOPs of {steps} steps | sampled steps | full count | sampled | error |")
    print("|---|---|---|---|---|")
    for name, (cycle, step) in error_loops(work, steps).items():
        meter = StepMeter("meta", cycle=cycle)
        for index in range(steps):
            metered(meter, lambda index=index, step=step: step(index))
        with count_flops() as full:
            for index in range(steps):
                step(index)
        sampled = sum(phase["counts"] for phase in meter.state()["phases"])
        print(
            f"| {name} | {sampled} | {full.total:,} | {meter.flops:,} "
            f"| {meter.flops / full.total - 1:+.2%} |"
        )


def flops_of_method(method, ipc, cache, sampled):
    """Return the FLOPs of the preset's steps on small data, and how many there were."""
    options = {**method.info.quick, **method.info.check}  # what small data needs, over it
    steps = options.pop("steps")
    config = make_config(method.info, options)
    task = toy_task(classes=10, per_class=40, ipc=ipc, store=cache)
    noise = torch.randn(task.images.shape, generator=torch.Generator().manual_seed(3))
    task.images.mul_(0.3).add_(noise)  # so hard that FedD3's clients stop one by one
    start = inits.register_inits()["real"].build(task)
    state = method.hook.init(task=task, synthetic=start, config=config)
    meter = StepMeter("cpu", cycle=method.info.cycle(config, ipc), count=sampled)
    full = contextlib.nullcontext() if sampled else count_flops()
    for step in range(steps):
        with full, task.metered_by(meter), meter:
            try:
                method.hook.condense_step(state=state, task=task, step=step)
            except Converged:
                break
    return meter.flops + (0 if sampled else full.total), meter.steps  # declared ones in both


def print_method_errors():
    print("\n| method | ipc | steps | full count | sampled | error |")
    print("|---|---|---|---|---|---|")
    for found in methods.discover().values():
        method = methods.load(found)
        if not method.info.steps(make_config(method.info, {}), 1):
            continue  # a selection takes no steps; its init is counted in full
        for ipc in (1, 10):
            with tempfile.TemporaryDirectory() as cache:
                full, steps = flops_of_method(method, ipc, cache, False)
                sampled, _ = flops_of_method(method, ipc, cache, True)
            print(f"| {found.name} | {ipc} | {steps} | {full:,} | {sampled:,} ", end="")
            print(f"| {sampled / full - 1:+.2%} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warm_up(arguments.device)
    machine = hardware(arguments.device, jobs_at_once=1, threads=arguments.threads)
    print(f"{hardware_class(machine)}; torch {machine['torch']}\n")
    print_costs(arguments)
    print_errors(arguments)
    print_method_errors()


if __name__ == "__main__":
    main()
