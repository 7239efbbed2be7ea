"""Pieces of pictures worth looking at: the frames that changed most, and where in them."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqe_cli.measure.pictures import View
from vqe_cli.measure.psnr_ssim import picture_mse, psnr_of_mse

CROP_WIDTH, CROP_HEIGHT = 144, 108
OVERVIEW_WIDTH = 256
# Kept frames lie at least this far apart: neighbours change alike and show the same thing.
APART = 8
GRID = 8


@dataclass(frozen=True, eq=False)
class Crop:
    """The same piece of a frame on every side."""

    frame: int
    """Index of the frame in the video."""
    box: tuple[int, int, int, int]
    """x, y, width, height in pixels of the (cropped) frame."""
    pictures: dict[str, np.ndarray]
    """The piece of "input" (where given), "output" and "truth", each (h, w, 3) uint8."""
    quality: dict[str, float]
    """PSNR in dB over the piece, of each side but the truth."""
    overview: np.ndarray
    """The whole frame of the truth, (h, w, 3) uint8, at most 256 pixels wide."""
    full_size: tuple[int, int]
    """(width, height) of the frame in pixels."""
    change: float
    """Mean squared difference of input and output over the frame (without an input: of output and truth)."""


class CropKeeper:
    """Keeps the pieces of the few frames with the largest change; memory does not grow with the video."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[Crop] = []

    def offer(self, frame: int, change: float, gt: View, output: View, given: View | None) -> None:
        """Take a frame's piece if its change is among the largest of frames that lie apart."""
        beaten = [crop for crop in self._kept if abs(crop.frame - frame) < APART]
        if not beaten and len(self._kept) >= self._limit:
            beaten = [min(self._kept, key=lambda crop: crop.change)]
        if any(crop.change >= change for crop in beaten):
            return
        self._kept = [crop for crop in self._kept if crop not in beaten]
        self._kept.append(cut(frame, change, gt, output, given))

    def result(self) -> tuple[Crop, ...]:
        """The pieces kept, the largest change first."""
        return tuple(sorted(self._kept, key=lambda crop: -crop.change))


def cut(frame: int, change: float, gt: View, output: View, given: View | None) -> Crop:
    """The piece of a frame where output and input (or truth, without an input) differ most."""
    sides = {"output": output.rgb, "truth": gt.rgb}
    if given is not None:
        sides = {"input": given.rgb, **sides}
    x, y, width, height = box = busiest_box(sides["output"], sides["input" if given is not None else "truth"])
    pieces = {name: rgb[:, y : y + height, x : x + width] for name, rgb in sides.items()}
    quality = {
        name: psnr_of_mse(picture_mse(pieces["truth"], piece))
        for name, piece in pieces.items()
        if name != "truth"
    }
    full_size = (gt.rgb.shape[2], gt.rgb.shape[1])
    overview = to_pixels(_shrunk(gt.rgb, OVERVIEW_WIDTH))
    return Crop(
        frame, box, {k: to_pixels(v) for k, v in pieces.items()}, quality, overview, full_size, change
    )


def busiest_box(first: Tensor, second: Tensor) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the 144x108 window (or smaller picture) with the largest difference."""
    height, width = first.shape[-2:]
    box_height, box_width = min(CROP_HEIGHT, height), min(CROP_WIDTH, width)
    energy = (first - second).square_().sum(dim=0, dtype=torch.float64)
    sums = F.pad(energy.cumsum(0).cumsum(1), (1, 0, 1, 0))
    rows, columns = (
        torch.arange(0, height - box_height + 1, GRID),
        torch.arange(0, width - box_width + 1, GRID),
    )
    top, left = rows[:, None], columns[None]
    inside = (
        sums[top + box_height, left + box_width]
        - sums[top, left + box_width]
        - sums[top + box_height, left]
        + sums[top, left]
    )
    best = int(inside.argmax())
    y, x = divmod(best, len(columns))
    return int(columns[x]), int(rows[y]), box_width, box_height


def to_pixels(rgb: Tensor) -> np.ndarray:
    """(3, H, W) on 0 … 255 as (H, W, 3) uint8."""
    return rgb.round().byte().permute(1, 2, 0).contiguous().numpy()


def _shrunk(rgb: Tensor, width: int) -> Tensor:
    """The picture at most `width` pixels wide, by area averages."""
    if rgb.shape[2] <= width:
        return rgb
    height = max(1, round(rgb.shape[1] * width / rgb.shape[2]))
    return F.interpolate(rgb[None], size=(height, width), mode="area")[0]
