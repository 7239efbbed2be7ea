"""Large pictures in overlapping tiles, joined without seams.

Neighbouring tiles share `overlap` pixels. In the middle half of these one fades into the other; the outer
quarters, where a tile lacks its surroundings most, are thrown away. So every pixel that is used has at
least overlap / 4 pixels of its tile around it, and at the middle of the fade overlap / 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tiling:
    """tile: largest side of a tile in pixels of the input, 0 for whole pictures; at least 3 * overlap.

    overlap: pixels shared by neighbours. multiple: tiles start at multiples of it, so that a network's
    folding or windows lie as in the whole picture.
    """

    tile: int
    overlap: int
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.tile and self.tile < 3 * self.overlap:
            raise ValueError(f"tiles of {self.tile} px cannot share {self.overlap} px with each neighbour")

    def spans(self, length: int) -> list[tuple[int, int]]:
        """First and one past last pixel of every tile along a side of `length` pixels.

        As few tiles as possible, and these as small and as equal as possible; never do more than two share
        a pixel.
        """
        if self.tile == 0 or length <= self.tile:
            return [(0, length)]
        overlap = self._up(self.overlap)
        largest = max(self.tile - self.tile % self.multiple, overlap + self.multiple)
        count = -(-(length - overlap) // (largest - overlap))
        size = self._up(-(-(length + (count - 1) * overlap) // count))
        starts = range(0, count * (size - overlap), size - overlap)
        return [(start, min(start + size, length)) for start in starts if start + overlap < length]

    def _up(self, pixels: int) -> int:
        return -(-pixels // self.multiple) * self.multiple


def tiled(run: Callable[[Tensor], Tensor], x: Tensor, tiling: Tiling, scale: int = 1) -> Tensor:
    """`run` over the tiles of x (..., H, W), joined to (..., scale*H, scale*W) in float32.

    run: gives (..., scale*h, scale*w) of a tile (..., h, w).
    """
    rows, columns = tiling.spans(x.shape[-2]), tiling.spans(x.shape[-1])
    if len(rows) == len(columns) == 1:
        return run(x).float()
    shape = (*x.shape[:-2], scale * x.shape[-2], scale * x.shape[-1])
    joined = torch.zeros(shape, dtype=torch.float32, device=x.device)
    for row, (top, bottom) in enumerate(rows):
        down = fade(rows, row, scale, x.device)[:, None]
        for column, (left, right) in enumerate(columns):
            answer = run(x[..., top:bottom, left:right]).float()
            across = fade(columns, column, scale, x.device)
            joined[..., scale * top : scale * bottom, scale * left : scale * right] += answer * (
                down * across
            )
    return joined


def fade(spans: list[tuple[int, int]], index: int, scale: int, device: torch.device | str = "cpu") -> Tensor:
    """Weight (scale * length,) of one tile along one side; those of neighbours add up to 1 everywhere."""
    start, stop = spans[index]
    weight = torch.ones(scale * (stop - start), device=device)
    if index > 0:
        shared = scale * (spans[index - 1][1] - start)
        weight[:shared] *= _ramp(shared, device)
    if index + 1 < len(spans):
        shared = scale * (stop - spans[index + 1][0])
        weight[len(weight) - shared :] *= 1 - _ramp(shared, device)
    return weight


def _ramp(length: int, device: torch.device | str) -> Tensor:
    """From 0 to 1 over `length` pixels: flat in the outer quarters, straight in the middle half."""
    middle = (torch.arange(length, device=device, dtype=torch.float32) + 0.5) / length
    return ((middle - 0.25) * 2).clamp(0, 1)
