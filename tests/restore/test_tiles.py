"""Tiles: weights add up to one; a network that looks no further than the overlap's quarter sees no seam."""

import pytest
import torch
from torch.nn import functional as F

from vqe_cli.restore.tiles import Tiling, fade, tiled


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
    assert (tiled(run, x, Tiling(48, 16), scale) - whole).abs().max() < 1e-6
    assert (tiled(run, x, Tiling(48, 4), scale) - whole).abs().max() > 1e-3  # too little overlap shows


def test_clips_go_through_as_they_are() -> None:
    clip = torch.rand(5, 3, 70, 90)
    assert torch.equal(tiled(lambda x: x, clip, Tiling(0, 0)), clip)
    assert (tiled(lambda x: x, clip, Tiling(32, 8)) - clip).abs().max() < 1e-6


def test_contradiction() -> None:
    with pytest.raises(ValueError, match="cannot share 30 px"):
        Tiling(64, 30)
