"""Turns: the group of the square, undone exactly; averaging a network that knows no direction changes
nothing.
"""

import pytest
import torch
from torch.nn import functional as F

from vqe_cli.restore.tta import TURNS, averaged, turned, turned_back

X = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6)


def test_eight_different_turns_and_back() -> None:
    square = torch.arange(9.0).reshape(1, 3, 3)
    assert len({tuple(turned(square, turn).flatten().tolist()) for turn in TURNS[8]}) == 8
    for turn in TURNS[8]:
        assert torch.equal(turned_back(turned(X, turn), turn), X)


def test_two_and_four_are_flips() -> None:
    assert [turned(X, turn).tolist() for turn in TURNS[2]] == [X.tolist(), X.flip(-1).tolist()]
    flips = {tuple(turned(X, turn).flatten().tolist()) for turn in TURNS[4]}
    assert flips == {tuple(y.flatten().tolist()) for y in (X, X.flip(-1), X.flip(-2), X.flip(-1).flip(-2))}


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_average(count: int) -> None:
    seen = []

    def run(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return F.pad(x[..., 1:], (0, 1))  # a network with a direction: shifts to the left

    out = averaged(run, X, count)
    assert len(seen) == count
    expected = torch.stack([turned_back(run(turned(X, turn)), turn) for turn in TURNS[count]]).mean(dim=0)
    assert torch.allclose(out, expected)
    assert torch.allclose(averaged(lambda x: x.bfloat16(), X / 256, count), X / 256)
