"""Time one FedD3 step of K clients as one batch, against a loop over the clients.

    python benchmarks/fedd3_clients.py [--clients 50] [--images 10] [--batch 10] [--device cpu]

Prints milliseconds per client-step of both, their ratio, and how long the paper's 3000 steps of all
these clients take batched, if none stops early. One CPU thread unless --threads says otherwise.
"""

import argparse
import time
from dataclasses import dataclass

import torch
from ddbench_fedd3 import centred, kip
from ddbench_fedd3.kernel import Kernel


@dataclass(frozen=True)
class Clients:
    """K clients: support sets, target batches and the optimizer's moments."""

    support: tuple[torch.Tensor, torch.Tensor]
    batch: tuple[torch.Tensor, torch.Tensor]
    adam: kip.Adam

    def step(self, clients):
        support, batch = (
            tuple(tensor[clients] for tensor in pair) for pair in (self.support, self.batch)
        )
        outcome = kip.evaluate(Kernel(), 1e-6, support, batch)
        taken = torch.ones(len(clients), dtype=torch.int64)
        self.adam.update(self.support[0], clients, outcome.gradients[0], taken, 0.004)


def new_clients(count, images, batch, pixels, device):
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        labels = (torch.arange(n) % 10).expand(count, n)
        noise = torch.randn(count, n, pixels, generator=generator, dtype=torch.float64)
        return noise.to(device), centred(labels, 10).to(device)

    support = draw(images)
    return Clients(support, draw(batch), kip.Adam.like(support[0]))


def seconds(work, device, repeats):
    """Return the median seconds of `work`, after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[repeats // 2]


def compare(args, count):
    device = torch.device(args.device)
    clients = new_clients(count, args.images, args.batch, args.pixels, device)
    everyone = torch.arange(count, device=device)

    def looped():
        for client in everyone.split(1):
            clients.step(client)

    batched_s = seconds(lambda: clients.step(everyone), device, args.repeats)
    looped_s = seconds(looped, device, args.repeats)
    return batched_s, looped_s


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[5, 50, 500])
    parser.add_argument("--images", type=int, default=10, help="support images a client, m")
    parser.add_argument("--batch", type=int, default=10, help="real images a client and step")
    parser.add_argument("--pixels", type=int, default=784)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"m {args.images}, batch {args.batch}, {args.pixels} pixels, float64, {args.device}")
    print("| clients | batched ms/client-step | looped ms/client-step | ratio | 3000 steps, min |")
    print("|---|---|---|---|---|")
    for count in args.clients:
        batched, looped = compare(args, count)
        print(
            f"| {count} | {1e3 * batched / count:.3f} | {1e3 * looped / count:.3f} "
            f"| {looped / batched:.1f} | {3000 * batched / 60:.1f} |"
        )


if __name__ == "__main__":
    main()
