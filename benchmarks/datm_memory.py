"""Peak memory of one matching gradient against the number of student steps, for each grad_mode.

    python benchmarks/datm_memory.py [--steps 4 16 64] [--architecture convnet-w32] [--images 20]

Every cell runs in a process of its own, on random images and weights (cost does not depend on
them). `beyond` is what a row needs more than the row of the fewest steps. Of `adjoint` it should
be the further weight vectors and nothing else: steps x parameters x 4 bytes, within 5% of the
whole. The exit code is 1 where it is not.
"""

import argparse
import os
import subprocess
import sys

import torch
from ddbench import architectures
from ddbench.meter import PeakMemory, warm_up
from ddbench_datm.flat import FlatNetwork
from ddbench_datm.matching import GRADIENTS, Problem, draw_batches

STRATEGY = "rotate"  # the costliest operation in every step: rows then differ in steps alone
SHAPE, CLASSES, MIB = (3, 32, 32), 10, 2**20
TOLERANCE = 0.05
# One arena, and large blocks given back at once: what the process holds is then what is in use.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--architecture", default="convnet-w32")
    parser.add_argument("--images", type=int, default=20, help="synthetic images, all in each step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--modes", nargs="+", default=list(GRADIENTS), choices=list(GRADIENTS))
    parser.add_argument("--one", nargs=2, metavar=("MODE", "STEPS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        mode, steps = arguments.one
        print(measure(arguments, mode, int(steps)))
        return 0
    return report(arguments)


def report(arguments):
    """Print the table; return 1 if `adjoint` grows by more than its stored weights."""
    count = network(arguments).count
    print(f"{arguments.architecture}, {count:,} parameters, {arguments.images} images a step, "
          f"{arguments.device}; torch {torch.__version__}\n")  # fmt: skip
    print("| grad_mode | steps | peak MiB | beyond MiB | stored weights MiB |")
    print("|---|---|---|---|---|")
    grown = 0
    for mode in arguments.modes:
        least = None
        for steps in arguments.steps:
            peak = in_a_child(arguments, mode, steps)
            least = least or (peak, steps)
            weights = (steps - least[1]) * count * 4
            beyond = peak - least[0]
            print(f"| {mode} | {steps} | {peak / MIB:.1f} | {beyond / MIB:.1f} "
                  f"| {weights / MIB:.1f} |", flush=True)  # fmt: skip
            if mode == "adjoint" and beyond > weights + TOLERANCE * peak:
                grown = 1
    return grown


def in_a_child(arguments, mode, steps):
    command = [
        sys.executable, __file__, "--architecture", arguments.architecture,
        "--images", str(arguments.images), "--device", arguments.device,
        "--one", mode, str(steps),
    ]  # fmt: skip
    environment = {**os.environ, **ALLOCATOR}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return int(result.stdout)


def measure(arguments, mode, steps):
    """Return the peak bytes of one gradient, after a small one has loaded what torch needs."""
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    warm_up(device)
    GRADIENTS[mode](problem(arguments, 1, device))
    case = problem(arguments, steps, device)
    with PeakMemory(device) as memory:
        GRADIENTS[mode](case)
    if memory.bytes is None:
        raise SystemExit(memory.reason)
    return memory.bytes


def network(arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FlatNetwork(architectures.build(arguments.architecture, SHAPE, CLASSES))


def problem(arguments, steps, device):
    generator = torch.Generator().manual_seed(0)
    net = network(arguments)
    net.module.to(device)
    start = net.weights()
    count = arguments.images
    return Problem(
        network=net,
        start=start,
        target=start + 0.01 * torch.randn(len(start), generator=generator).to(device),
        images=torch.randn(count, *SHAPE, generator=generator).to(device),
        labels=torch.randn(count, CLASSES, generator=generator).to(device),
        lr=torch.tensor(0.01, device=device),
        batches=draw_batches(count, 0, steps, STRATEGY, SHAPE, generator),
    )


if __name__ == "__main__":
    sys.exit(main())
