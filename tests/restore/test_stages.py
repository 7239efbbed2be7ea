"""Tiles: weights add up to one; a network that looks no further than the overlap's quarter sees no seam."""

import pytest
import torch
from torch.nn import functional as F

from vqe_cli.restore.stages import TURNS, Tiling, averaged, fade, tiled, turned, turned_back


@pytest.mark.parametrize("multiple", [1, 2, 8])
@pytest.mark.parametrize(("tile", "overlap"), [(48, 0), (48, 16), (96, 32), (100, 7), (200, 64)])
def test_weights_add_up_to_one(tile: int, overlap: int, multiple: int) -> None:
    tiling = Tiling(tile, overlap, multiple)
    for length in range(1, 700, 13):
        spans = tiling.spans(length)
        weight, count = torch.zeros(length), torch.zeros(length)
        for index, (start, stop) in enumerate(spans):
            assert start % multiple == 0 and stop - start <= max(tile, 3 * overlap + 3 * multiple)
            weight[start:stop] += fade(spans, index, 1)
            count[start:stop] += 1
        assert count.min() >= 1 and count.max() <= 2
        assert (weight - 1).abs().max() < 1e-6


def test_whole_pictures_are_not_touched() -> None:
    assert Tiling(0, 0).spans(1000) == [(0, 1000)]
    assert Tiling(64, 16).spans(64) == [(0, 64)]


@pytest.mark.parametrize("scale", [1, 2])
def test_no_seam_when_the_overlap_covers_the_reach(scale: int) -> None:
    """A blur of reach 4 with an overlap of 16 px: its quarter is 4 px."""
    kernel = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    kernel /= kernel.sum(dim=(2, 3), keepdim=True)

    def run(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(F.conv2d(x, kernel, padding=4, groups=3), scale_factor=scale, mode="nearest")

    x = torch.rand(2, 3, 101, 150, generator=torch.Generator().manual_seed(2))
    whole = run(x)
    assert (tiled(run, (x,), Tiling(48, 16), scale) - whole).abs().max() < 1e-6
    assert (tiled(run, (x,), Tiling(48, 4), scale) - whole).abs().max() > 1e-3  # too little overlap shows


def test_clips_go_through_as_they_are() -> None:
    clip = torch.rand(5, 3, 70, 90)
    assert torch.equal(tiled(lambda x: x, (clip,), Tiling(0, 0)), clip)
    assert (tiled(lambda x: x, (clip,), Tiling(32, 8)) - clip).abs().max() < 1e-6


def test_contradiction() -> None:
    with pytest.raises(ValueError, match="cannot share 30 px"):
        Tiling(64, 30)


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
