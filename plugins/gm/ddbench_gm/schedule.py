"""How often a network is matched and how long it is trained in between, by images per class."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple


class Loops(NamedTuple):
    """The loops inside one iteration, that is inside the life of one network."""

    outer: int  # image updates on this network, T
    inner_epochs: int  # epochs of its training on the synthetic images between two updates


# The reference code's table; it knows no other ipc.
PUBLISHED = {
    1: Loops(1, 1),  # one update, so the network is never trained
    10: Loops(10, 50),
    20: Loops(20, 25),
    30: Loops(30, 20),
    40: Loops(40, 15),
    50: Loops(50, 10),
}


def loops_by_ipc(ipc: int) -> Loops:
    """Return the published loops of an ipc, and for one that has none, these.

    - 2 to 9: T = ipc and the inner epochs of ipc 10 (those of ipc 1 are never run);
    - between two published ones: T = ipc, and inner epochs on the straight line between theirs,
      halves rounded up;
    - above 50: those of 50, which the authors advise to try first (their issue 2).
    """
    if ipc in PUBLISHED:
        return PUBLISHED[ipc]
    if ipc > 50:
        return PUBLISHED[50]
    if ipc < 10:
        return Loops(ipc, PUBLISHED[10].inner_epochs)
    low, high = next((a, b) for a, b in pairwise(PUBLISHED) if a < ipc < b)
    first, second = PUBLISHED[low].inner_epochs, PUBLISHED[high].inner_epochs
    epochs = (first * (high - ipc) + second * (ipc - low)) / (high - low)
    return Loops(ipc, int(epochs + 0.5))
