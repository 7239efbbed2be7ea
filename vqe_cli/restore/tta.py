"""Self-ensemble: the network's answers to turned inputs, turned back and averaged (SPEC section 6)."""

from collections.abc import Callable

import torch
from torch import Tensor

# Bits 0 and 1: quarter turns; bit 2: a horizontal flip before them.
FLIP = 4
TURNS = {1: (0,), 2: (0, FLIP), 4: (0, FLIP, FLIP | 2, 2), 8: tuple(range(8))}


def turned(x: Tensor, turn: int) -> Tensor:
    """x (..., H, W) flipped (bit 2) and then turned by `turn & 3` quarters; H and W change places at odd
    quarters.
    """
    if turn & FLIP:
        x = x.flip(-1)
    return torch.rot90(x, turn & 3, (-2, -1)) if turn & 3 else x


def turned_back(x: Tensor, turn: int) -> Tensor:
    """Undoes `turned`."""
    if turn & 3:
        x = torch.rot90(x, -(turn & 3), (-2, -1))
    return x.flip(-1) if turn & FLIP else x


def averaged(run: Callable[[Tensor], Tensor], x: Tensor, count: int) -> Tensor:
    """The mean, in float32, of `run` over `count` turns of x (..., H, W), each turned back.

    count: 1, 2 (identity and horizontal flip), 4 (all flips) or 8 (the four rotations of identity and flip).
    """
    if count == 1:
        return run(x).float()
    total: Tensor | None = None
    for turn in TURNS[count]:
        answer = turned_back(run(turned(x, turn)), turn).float()
        total = answer if total is None else total + answer
    assert total is not None
    return total / count
