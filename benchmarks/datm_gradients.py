"""The three grad_modes of trajectory matching: how near to the exact gradient, and how fast.

    python benchmarks/datm_gradients.py [--architecture convnet-w16] [--rounds 3]

One expert is trained on mnist-mini (plain SGD, lr 0.01, batch 64). A student then starts from an
epoch of it with 50 real images in batches of 25, soft labels and DSA, and is matched to the epoch
after. Cosine and norm ratio are against `unroll`; seconds are CPU seconds on one thread, medians of
rounds in which the modes take turns, as ratios to `unroll`.
"""

import argparse
import statistics
import time

import torch
from ddbench import architectures, datasets, testing
from ddbench.augment import augment
from ddbench.datasets.tensors import prepare
from ddbench_datm.experts import gradients
from ddbench_datm.flat import FlatNetwork
from ddbench_datm.matching import GRADIENTS, Problem, draw_batches

ROWS = ((0, 10, 0.01), (0, 40, 0.01), (3, 40, 0.01), (3, 40, 0.03))  # start epoch, steps, rate
EPOCHS, IMAGES, BATCH = 4, 50, 25


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="convnet-w16")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with testing.one_thread():
        data, strategy = real_images()
        network = new_network(arguments.architecture, data)
        snapshots = train(network, data, strategy)
        print(f"{arguments.architecture}, mnist-mini, {IMAGES} images; torch {torch.__version__}\n")
        print("| start, N, alpha | mode | cos images | ratio images | cos labels | ratio labels "
              "| ratio lr | CPU seconds | x unroll |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|")
        for row in ROWS:
            compare(row, problem(row, network, snapshots, data, strategy), arguments.rounds)


def real_images():
    dataset = datasets.load("mnist-mini")
    return prepare(dataset, "cpu"), dataset.augment


def new_network(name, data):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = architectures.build(name, tuple(data.train_images.shape[1:]), 10)
    return FlatNetwork(module)


def train(network, data, strategy):
    """Return an expert's weights after each epoch, the initial ones first."""
    generator = torch.Generator().manual_seed(0)
    weights = network.weights()[None]
    snapshots = [weights[0]]
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(data.train_labels), generator=generator).split(64):
            images = augment(strategy, generator, data.train_images[rows])[None]
            weights = weights - 0.01 * gradients(
                network, weights, images, data.train_labels[rows][None]
            )
        snapshots.append(weights[0])
    return snapshots


def problem(row, network, snapshots, data, strategy):
    start, steps, rate = row
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randperm(len(data.train_labels), generator=generator)[:IMAGES]
    images = data.train_images[chosen]
    with torch.no_grad():
        labels = network(snapshots[-1], images)
    return Problem(
        network, snapshots[start], snapshots[start + 1], images, labels, torch.tensor(rate),
        draw_batches(IMAGES, BATCH, steps, strategy, images.shape[1:], generator),
    )  # fmt: skip


def compare(row, case, rounds):
    """Print the row's three lines."""
    seconds = {mode: [] for mode in GRADIENTS}
    matches = {}
    for _ in range(rounds):
        for mode, gradient in GRADIENTS.items():
            began = time.process_time()
            matches[mode] = gradient(case)
            seconds[mode].append(time.process_time() - began)
    medians = {mode: statistics.median(values) for mode, values in seconds.items()}
    exact = matches["unroll"]
    for mode, match in matches.items():
        images, labels = (near(getattr(match, n), getattr(exact, n)) for n in ("images", "labels"))
        print(f"| {row[0]}, {row[1]}, {row[2]} | {mode} | {images[0]:.6f} | {images[1]:.4f} "
              f"| {labels[0]:.6f} | {labels[1]:.4f} | {(match.lr / exact.lr).item():.4f} "
              f"| {medians[mode]:.2f} | {medians[mode] / medians['unroll']:.2f} |",
              flush=True)  # fmt: skip


def near(ours, exact):
    """Return cosine and norm ratio."""
    a, b = ours.flatten().double(), exact.flatten().double()
    return (a @ b / (a.norm() * b.norm())).item(), (a.norm() / b.norm()).item()


if __name__ == "__main__":
    main()
