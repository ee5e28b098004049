"""Time every workload beside a plain sequential loop that works as the public code does.

    python benchmarks/speed.py [--quick] [--device cpu] [--width 8 32] [--rounds 7]
                               [--reference CLONE] [--out benchmarks/speed.md]

Ours and the plain loop take turns; the table has the medians (CPU seconds on the CPU, wall seconds
elsewhere), the median of the ratios of neighbours, the share of the measured peak of a convolution
that ours reaches, peak memory, and how far the first result of each is from the plain loop's in
float64. The plain loops are written from the papers: torch's layers, a DataLoader,
`loss.item()` a step, one class, client or network after the other. `--reference` times training and
testing by a clone of the public DatasetCondensation repository too. Below stand numbers of the
harness itself: its own loop, and the CPU seconds, children included, of commands on `--records`
results that `made_runs.py` makes (start-up, planning, ranking, reporting), each the median of
rounds that take turns. `--harness-only` measures these alone.
"""

import argparse
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import types
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import made_runs
import torch
from ddbench.architectures.pooling import AveragePool
from ddbench.contract.config import make_config
from ddbench.discovery import methods
from ddbench.execution.runner.callbacks import Control
from ddbench.execution.runner.checkpoint import Progress
from ddbench.execution.runner.condensing import Condensing
from ddbench.execution.runner.guard import Guard
from ddbench.inits import initial_set, register_inits
from ddbench.meter import PeakMemory, count_flops, hardware, hardware_class, warm_up
from ddbench.meter.clock import Clock
from ddbench.testing import toy_task
from ddbench.training import Recipe, fit, predict
from ddbench_datm.experts import gradients
from ddbench_datm.flat import FlatNetwork
from ddbench_datm.matching import Problem, adjoint, draw_batches, unroll
from ddbench_fedd3 import centred, kip
from ddbench_fedd3.kernel import Kernel
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

CLASSES, SIZE, MIB = 10, 32, 2**20


@dataclass(frozen=True)
class Scale:
    """How large the workloads are."""

    width: int = 32
    ipc: int = 1
    real: int = 128  # real images a class
    epochs: int = 10
    student_steps: int = 5
    clients: int = 10
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    def task(self):
        made = toy_task(
            classes=CLASSES, per_class=self.real, ipc=self.ipc, size=SIZE,
            architecture=f"convnet-w{self.width}", device=self.device,
        )  # fmt: skip
        made.images = made.images.to(self.dtype)  # the same images: other dtypes draw others
        return made

    def network(self, plain):
        """Return the same network, with torch's pooling if `plain`."""
        network = self.task().new_network(seed=1).to(self.dtype)
        if plain:
            for layer in network.modules():
                layer.__class__ = nn.AvgPool2d if type(layer) is AveragePool else layer.__class__
        return network

    def synthetic(self):
        """Return images and labels of the set that the networks are trained on."""
        task, labels = self.task(), torch.arange(CLASSES).repeat_interleave(self.ipc)
        rows = torch.cat([task.class_indices(c)[: self.ipc] for c in range(CLASSES)])
        return task.images[rows.to(self.device)].clone(), labels.to(self.device)


# Each workload is a function of a scale and of `plain` that returns a step without arguments; a
# step returns its result, a tensor.


def training(scale, plain):
    network, (images, labels) = scale.network(plain), scale.synthetic()
    recipe = Recipe(epochs=scale.epochs, augment="none")

    def ours():
        fit(network, images, labels, recipe, torch.Generator().manual_seed(0))
        return nn.utils.parameters_to_vector(network.parameters()).detach()

    def loop():
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        loader = DataLoader(TensorDataset(images, labels), recipe.batch, shuffle=True)
        for _ in range(scale.epochs):
            through(network, loader, optimizer)
        return nn.utils.parameters_to_vector(network.parameters()).detach()

    return loop if plain else ours


def through(network, loader, optimizer=None):
    """Go once through a loader as the public code does; take loss and accuracy of each batch."""
    network.train(optimizer is not None)
    outputs = []
    for images, labels in loader:
        output = network(images)
        loss = functional.cross_entropy(output, labels)
        (output.cpu().data.numpy().argmax(-1) == labels.cpu().data.numpy()).sum()
        loss.item()
        outputs.append(output.detach())
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return torch.cat(outputs)


def testing(scale, plain):
    network, task = scale.network(plain), scale.task()
    loader = DataLoader(TensorDataset(task.images, task.labels), 256)
    # The public code builds the graph here too; without it the loop is the faster one.
    loop = torch.no_grad()(lambda: through(network, loader))
    return loop if plain else lambda: predict(network, task.images)


def of_method(name, loop, options, scale, plain):
    """A step of an installed method, or `loop` on the same images, network and real data."""
    method, task = methods.load(methods.discover()[name]), scale.task()
    config = make_config(method.info, options)
    start = initial_set(register_inits()["real"], task, method.info, config)
    state = method.hook.init(task=task, synthetic=start, config=config)
    images = state.images if not plain else state.images.detach().clone().requires_grad_()

    def ours():
        method.hook.condense_step(state=state, task=task, step=0)
        return images.detach().clone()

    if not plain:
        return ours
    optimizer = torch.optim.SGD([images], config.lr_images, momentum=config.momentum)
    # What the method's first step draws: gm takes its network when it begins.
    fresh = scale.task()

    def looped():
        network = fresh.new_network().to(scale.dtype)
        for layer in network.modules():
            layer.__class__ = nn.AvgPool2d if type(layer) is AveragePool else layer.__class__
        optimizer.zero_grad()
        loss = sum(loop(task, network, images, c, config) for c in range(CLASSES))
        loss.backward()
        optimizer.step()
        loss.item()
        return images.detach().clone()

    return looped


def pair(task, images, c, config):
    return task.augment_alike(
        task.real_images(c, config.batch_real),
        images[c * task.ipc : (c + 1) * task.ipc],
        strategy=config.augment,
    )


def gradient_distance(task, network, images, c, config):
    """The layerwise cosine distance of DC, equations 9 and 10, of one class."""
    parameters = list(network.parameters())
    real, synthetic = pair(task, images, c, config)

    def gradient(batch, **more):
        labels = torch.full((len(batch),), c, device=batch.device)
        loss = functional.cross_entropy(network(batch), labels)
        return torch.autograd.grad(loss, parameters, **more)

    target = [g.detach() for g in gradient(real)]
    distance = 0.0
    for s, r in zip(gradient(synthetic, create_graph=True), target, strict=True):
        if s.ndim > 1:
            s, r = s.flatten(1), r.flatten(1)
            distance += (1 - (s * r).sum(1) / (s.norm(dim=1) * r.norm(dim=1) + 1e-6)).sum()
    return distance


def mean_distance(task, network, images, c, config):
    """DM's squared distance of the mean embeddings of one class."""
    real, synthetic = pair(task, images, c, config)
    target = network.embed(real).detach().mean(0)
    return (target - network.embed(synthetic).mean(0)).square().sum()


def trajectory(soft, scale, plain):
    """One gradient of trajectory matching: the adjoint, or the published unrolled loop."""
    network, (images, labels) = FlatNetwork(scale.network(plain)), scale.synthetic()
    start = network.weights()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(start), generator=generator, dtype=torch.float64)
    target = start + 0.01 * noise.to(start)
    batches = draw_batches(
        len(images), 0, scale.student_steps, "none", images.shape[1:], generator
    )  # fmt: skip
    wanted = functional.one_hot(labels, CLASSES).to(scale.dtype) * 4 if soft else labels
    lr = torch.tensor(0.01, dtype=scale.dtype, device=scale.device)
    problem = Problem(network, start, target, images, wanted, lr, batches)
    return lambda: (unroll if plain else adjoint)(problem).images


def clients(scale, plain):
    """A step of FedD3's clients as one batch, or one client after the other."""
    generator, count = torch.Generator().manual_seed(0), scale.clients

    def draw(n):
        labels = (torch.arange(n) % CLASSES).expand(count, n)
        noise = torch.randn(count, n, 784, generator=generator, dtype=torch.float64)
        return noise.to(scale.device), centred(labels, CLASSES).to(scale.device)

    support, batch = draw(10), draw(10)
    groups = torch.arange(count, device=scale.device).split(1 if plain else count)

    def step():
        found = []
        for group in groups:
            part = [tuple(tensor[group] for tensor in both) for both in (support, batch)]
            found.append(kip.evaluate(Kernel(), 1e-6, *part).gradients[0])
        return torch.cat(found)

    return step


def experts(scale, plain):
    """Ten steps of an expert's plain SGD on real images."""
    module, task = scale.network(plain), scale.task()
    images, labels = task.images[: 10 * 64], task.labels[: 10 * 64]
    network = FlatNetwork(module)

    def ours():
        weights = network.weights()[None]
        for batch, wanted in zip(images.split(64), labels.split(64), strict=True):
            weights = weights - 0.01 * gradients(network, weights, batch[None], wanted[None])
        return weights[0]

    def loop():
        optimizer = torch.optim.SGD(module.parameters(), 0.01)
        through(module, DataLoader(TensorDataset(images, labels), 64), optimizer)
        return nn.utils.parameters_to_vector(module.parameters()).detach()

    return loop if plain else ours


MATCHING = {"batch_real": 10**6}  # all real images of a class
ONCE = {**MATCHING, "outer": 1, "inner_epochs": 0}
WORKLOADS = {
    "training on a set": training,
    "testing": testing,
    "GM step": partial(of_method, "gm", gradient_distance, ONCE),
    "DSA step": partial(of_method, "dsa", gradient_distance, ONCE),
    "DM step": partial(of_method, "dm", mean_distance, MATCHING),
    "DATM gradient": partial(trajectory, True),
    "MTT gradient": partial(trajectory, False),
    "FedD3 step": clients,
    "expert, 10 steps": experts,
}


def reference(path):
    """Return workloads that run the public repository's own code, from a clone of it."""
    old = types.ModuleType("scipy.ndimage.interpolation")  # gone from SciPy; used for rotations
    old.rotate = None
    sys.modules.setdefault("scipy.ndimage.interpolation", old)
    sys.path.insert(0, str(path))
    import networks  # type: ignore[import-not-found]
    import utils  # type: ignore[import-not-found]

    def network(scale):
        net = networks.ConvNet(
            1, CLASSES, scale.width, 3, "relu", "instancenorm", "avgpooling", (SIZE, SIZE)
        )
        # Its padding of one channel gives 36x36 maps; ours keep 32x32.
        net.features[0].padding = (1, 1)
        net.classifier = nn.Linear(scale.width * 16, CLASSES)
        return net.to(scale.device)

    def train(scale):
        net, (images, labels) = network(scale), scale.synthetic()
        loader = DataLoader(utils.TensorDataset(images, labels), 256, shuffle=True)
        optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        args = types.SimpleNamespace(device=scale.device, dsa=False)
        criterion = nn.CrossEntropyLoss()
        return lambda: [
            utils.epoch("train", loader, net, optimizer, criterion, args, aug=False)
            for _ in range(scale.epochs)
        ]

    def test(scale):
        net, task = network(scale), scale.task()
        loader = DataLoader(utils.TensorDataset(task.images, task.labels), 256)
        args = types.SimpleNamespace(device=scale.device, dsa=False)
        criterion = nn.CrossEntropyLoss()
        return lambda: utils.epoch("test", loader, net, None, criterion, args, aug=False)

    return {"training on a set": train, "testing": test}


def seconds_of(work, device):
    read = time.process_time if device == "cpu" else Clock(device).seconds
    start = read()
    work()
    return read() - start


def peak(work, device):
    with PeakMemory(device) as memory:
        work()
    return "?" if memory.bytes is None else f"{memory.bytes / MIB:.0f}"


def convolution_peak(device, rounds):
    """Return the FLOP/s of the fastest of some large 3x3 convolutions."""
    best = 0.0
    for channels in (64, 128):
        images = torch.randn(32, channels, 32, 32, device=device)
        weight = torch.randn(channels, channels, 3, 3, device=device)
        work = partial(functional.conv2d, images, weight, padding=1)
        work()
        taken = min(seconds_of(work, device) for _ in range(rounds))
        best = max(best, 2 * images.numel() * channels * 9 / taken)
    return best


def matrix_peak(device, rounds):
    matrix = torch.randn(1024, 1024, device=device)
    work = partial(torch.mm, matrix, matrix)
    work()
    return 2 * 1024**3 / min(seconds_of(work, device) for _ in range(rounds))


def far(result, exact):
    result, exact = result.double().flatten(), exact.double().flatten()
    return f"{((result - exact).norm() / exact.norm()).item():.0e}"


def line(name, scale, rounds, top, public):
    """Return one line of the table."""
    workload = WORKLOADS[name]
    steps = [workload(scale, False), workload(scale, True)]
    double = replace(scale, dtype=torch.float64)
    exact = workload(double, True)()
    apart = [far(step(), exact) for step in steps]
    if public:
        steps.append(public(scale))
        steps[2]()
    taken = [[] for _ in steps]
    for _ in range(rounds):
        for step, times in zip(steps, taken, strict=True):
            times.append(seconds_of(step, scale.device))
    with count_flops() as count:
        steps[0]()
    medians = [statistics.median(times) for times in taken]
    ratios = [statistics.median(b / a for a, b in zip(taken[0], t, strict=True)) for t in taken[1:]]
    reached = count.total / medians[0] / top
    memory = [peak(step, scale.device) for step in steps[:2]]
    cells = [
        name, str(scale.width), str(scale.ipc), f"{medians[0] * 1e3:.1f}",
        f"{medians[1] * 1e3:.1f}", f"{ratios[0]:.2f}", f"{ratios[1]:.2f}" if public else "",
        f"{reached:.0%}", *memory, *apart,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def own_loop(steps):
    """Return the seconds that the runner's loop adds to each of so many empty steps."""
    work = object.__new__(Condensing)
    hook = types.SimpleNamespace(condense_step=lambda **about: {"loss": 1.0})
    nobody = types.SimpleNamespace(get_hookimpls=list)
    work.job = types.SimpleNamespace(cycle=1, steps=steps, budget_s=None, snapshots=(), id="")
    work.setting = types.SimpleNamespace(checkpoint_s=float("inf"))
    work.method = types.SimpleNamespace(hook=hook)
    manager = types.SimpleNamespace(hook=types.SimpleNamespace(step_finished=nobody))
    work.extensions = types.SimpleNamespace(manager=manager)
    work.control, work.at, work.device = Control(), Progress(), torch.device("cpu")
    work.meters, work.task = work._meters(), toy_task()
    with Guard() as work.guard:
        return seconds_of(lambda: work._loop(None), "cpu") / steps


def command_seconds(*arguments):
    """Return the CPU seconds of a command of the harness, its children's among them."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "ddbench", *arguments], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def of_the_loop(quick):
    steps = 1000 if quick else 10_000
    return ["", f"The runner's own loop adds {own_loop(steps) * 1e6:.1f} µs to a step."]


def commands_on(records, folder):
    """Return commands by what they show, on so many results, and on the 78 jobs of `quick`."""
    run, quick = folder / f"made-{records}", folder / "quick"
    if not run.exists():
        made_runs.make_run(run, records)
    if not quick.exists():
        made_runs.make_quick(quick)
    # Two networks beside the matched one: four jobs a seed and method.
    seeds = [part for n in range(records // 20) for part in ("--seed", str(n))]
    methods = [
        part for n in ("dm", "gm", "random", "herding", "kcenter") for part in ("--method", n)
    ]
    plan = ["plan", "--dataset", "mnist-mini", *methods, *seeds]
    of = f" of {records:,}"
    return {
        "start-up: --help": ["--help"],
        f"planning: plan{of}": plan,
        f"planning: plan --json{of}": [*plan, "--json"],
        f"ranking: leaderboard{of}": ["leaderboard", str(run)],
        f"ranking: status{of}": ["status", str(run)],
        f"ranking: compare{of}": ["compare", str(run), str(run)],
        f"reporting: report --format md{of}": ["report", str(run), "--format", "md"],
        f"reporting: report --format html{of}": ["report", str(run), "--format", "html"],
        f"reporting: report --format csv{of}": ["report", str(run), "--format", "csv"],
        "reporting: report of 78 jobs, md": ["report", str(quick), "--format", "md"],
        "reporting: report of 78 jobs, md, html and csv": ["report", str(quick)],
    }


def of_the_harness(rounds, counts, folder):
    """Return the table of the harness itself, the commands in turns."""
    commands = {}
    for records in counts:
        commands |= commands_on(records, Path(folder))
    for arguments in commands.values():
        command_seconds(*arguments)  # byte code and caches
    taken = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            taken[name].append(command_seconds(*arguments))
    rows = {name: statistics.median(times) for name, times in taken.items()}
    lines = ["", f"| the harness, CPU seconds, {rounds} rounds | median |", "|---|---:|"]
    return lines + [f"| {name} | {value:.3g} |" for name, value in rows.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a rehearsal of about a minute")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--width", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--reference", type=Path, help="a clone of DatasetCondensation")
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--harness-only", action="store_true", help="no training, no networks")
    parser.add_argument("--out", type=Path, help="write the table here too")
    given = parser.parse_args()
    rounds = 1 if given.quick else min(5, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        counts = [200] if given.quick else given.records
        more = [] if given.harness_only else of_the_loop(given.quick)
        more += of_the_harness(rounds, counts, folder)
    if given.harness_only:
        print("\n".join(more))
        return
    torch.set_num_threads(1)
    warm_up(given.device)
    scale, widths, ipcs, rounds = Scale(device=given.device), given.width, given.ipc, given.rounds
    if given.quick:
        scale = replace(scale, real=16, epochs=2, student_steps=2, clients=3)
        widths, ipcs, rounds = [8], [1], 3
    tops = convolution_peak(given.device, 9), matrix_peak(given.device, 9)
    public = reference(given.reference.resolve()) if given.reference else {}
    lines = [
        f"# Speed\n\nMade by `python {shlex.join(['benchmarks/speed.py', *sys.argv[1:]])}` on "
        f"{hardware_class(hardware(given.device, 1, 1))}; torch {torch.__version__}, Python "
        f"{platform.python_version()}. Measured peaks: convolution {tops[0] / 1e9:.0f}, matrix "
        f"product {tops[1] / 1e9:.0f} GFLOP/s. {CLASSES} classes, {SIZE}x{SIZE}, "
        f"{scale.real} real images a class, {rounds} rounds.\n",
        "| workload | width | ipc | ours ms | plain ms | plain / ours | public / ours "
        "| of conv. peak | MiB ours | plain | from float64: ours | plain |",
        "|---|" + "---:|" * 11,
    ]
    print("\n".join(lines))
    for width in widths:
        for ipc in ipcs:
            for name in given.only:
                at = replace(scale, width=width, ipc=ipc)
                lines.append(line(name, at, rounds, tops[0], public.get(name)))
                print(lines[-1], flush=True)
    print("\n".join(more))
    if given.out:
        given.out.write_text("\n".join(lines + more) + "\n")


if __name__ == "__main__":
    main()
