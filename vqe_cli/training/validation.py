"""Measuring while training: a figure for every clip, and a picture of the worst one.

PSNR here is over RGB in float, which is what networks see and what the loss lowers: `psnr-rgb-float`.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from vqe_cli.files import write_bytes
from vqe_cli.measure.pictures import busiest_box, to_pixels
from vqe_cli.training.data import Pair
from vqe_cli.training.distributed import World
from vqe_cli.video.images import png

Sheet = Tensor  # (3, H, 3 * W) on 0 … 255: compressed, enhanced and true crop side by side
ENLARGED = 3
LEAST_ERROR = 1e-10  # mean square below which a picture equals the truth: 100 dB


class Measured(Protocol):
    """What can be measured on a clip."""

    def measure(self, network: nn.Module, pair: Pair) -> float:
        """A figure in dB, more is better."""

    def sheet(self, network: nn.Module, pair: Pair) -> Sheet | None:
        """A picture of a clip, None where there is nothing to see."""


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """RGB-PSNR (dB, peak 1) of each frame of two (T, 3, H, W), as (T,): `psnr-rgb-float` of `vqe eval`."""
    return -10 * torch.log10(_squared_error(prediction, target).clamp(min=LEAST_ERROR))


def mean_gain(enhanced: Tensor, given: Tensor, gt: Tensor) -> float:
    """Mean PSNR gain (dB) of one (T, 3, H, W) over another.

    Frames that equal the truth in either have no PSNR and are left out; 0 where there are no others.
    """
    equal = (_squared_error(enhanced, gt) <= LEAST_ERROR) | (_squared_error(given, gt) <= LEAST_ERROR)
    gains = (psnr(enhanced, gt) - psnr(given, gt))[~equal]
    return float(gains.mean()) if len(gains) else 0.0


def _squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction.clamp(0, 1) - target.clamp(0, 1)).square().mean(dim=(1, 2, 3))


def measure_all(
    task: Measured, network: nn.Module, pairs: Sequence[Pair], world: World, stop: threading.Event
) -> dict[tuple[str, str], float]:
    """The figure of each (recipe, clip), each process measuring its part; not all once `stop` is set."""
    part = {}
    for pair in pairs[world.rank :: world.size]:
        if stop.is_set():
            break
        part[pair.recipe, pair.lq.name] = task.measure(network, pair)
    return world.gathered(part)


def mean_by_recipe(by_clip: dict[tuple[str, str], float]) -> dict[str, float]:
    """Mean figure of each recipe over its clips, in dB."""
    recipes = sorted({recipe for recipe, _ in by_clip})
    return {
        r: sum(g for (q, _), g in by_clip.items() if q == r) / sum(q == r for q, _ in by_clip)
        for r in recipes
    }


def cut_sheet(given: Tensor, enhanced: Tensor, gt: Tensor) -> Sheet:
    """Compressed, enhanced and true crop of three (3, H, W), where the enhanced picture errs most."""
    codes = [(255 * picture.float().clamp(0, 1)).round().cpu() for picture in (given, enhanced, gt)]
    x, y, width, height = busiest_box(codes[1], codes[2])
    crops = [picture[:, y : y + height, x : x + width] for picture in codes]
    return torch.cat(crops, dim=2).repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)


def write_sheet(path: Path, sheet: Sheet | None) -> None:
    """Write a picture of `cut_sheet` as PNG, if there is one."""
    if sheet is not None:
        write_bytes(path, png(to_pixels(sheet)))
