"""Motion by iterated least squares on the pictures themselves, coarse to fine.

Lucas and Kanade's method (IJCAI 1981) with guesses spread between neighbours, as PatchMatch does (Barnes et
al., SIGGRAPH 2009), and a blur that trusts flows where they fit. It has no weights. On compressed frames it
finds what DIS finds; a flow network that sees them at a quarter of their size misses 4 dB
(docs/learning-curves.md).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vqe_cli.networks.flow import flow_warp, pairs_at_once, position_dtype
from vqe_cli.networks.layers import box_mean

LEVELS = 5
LEAST_SIDE = 8  # pixels of the coarsest level
STEPS = (1, 2, 3, 4, 8)  # at each level, finest first
WINDOW = 5
GUESS_DISTANCE = 3  # pixels, at every level
BETTER = 0.97  # a guess from a neighbour must lower the error to this share
# Squared gradient, and squared error, of pictures in [0, 1] below which a place tells nothing of motion.
FLAT = 2e-3
NOISE = 1e-4


@torch.no_grad()
def least_squares_flow(picture: Tensor, other: Tensor) -> Tensor:
    """The flow (N, 2, H, W) from `picture` to `other`, both (N, 3, H, W) RGB in [0, 1]; at least float32."""
    kind = position_dtype(picture.dtype)
    step = pairs_at_once(picture)
    lumas = [x.to(kind).mean(dim=1, keepdim=True).split(step) for x in (picture, other)]
    with torch.autocast(picture.device.type, enabled=False):
        return torch.cat([_coarse_to_fine(*pair) for pair in zip(*lumas, strict=True)])


def _coarse_to_fine(luma: Tensor, other: Tensor) -> Tensor:
    """The flow (N, 2, H, W) between pictures (N, 1, H, W)."""
    pyramid = [(luma, other)]
    while len(pyramid) < LEVELS and min(pyramid[-1][0].shape[-2:]) >= 2 * LEAST_SIDE:
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    coarsest = len(pyramid) - 1
    still = pyramid[coarsest][0]
    flow = still.new_zeros(len(still), 2, *still.shape[-2:])
    for level in range(coarsest, -1, -1):
        luma, other = pyramid[level]
        if level < coarsest:
            height, width = luma.shape[-2:]
            flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear")[..., :height, :width]
        flow = _fitted(flow, luma, other, STEPS[level])
    return flow


def _halved(x: Tensor) -> Tensor:
    """Half the size, rounded up."""
    return F.avg_pool2d(x, 2, ceil_mode=True)


def blurred(x: Tensor) -> Tensor:
    """Mean in a window around each place."""
    return box_mean(x, WINDOW)


def _fitted(flow: Tensor, luma: Tensor, other: Tensor, steps: int) -> Tensor:
    """The flow at one level after `steps` rounds: better guesses, least squares, blur."""
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    slope_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    slope_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    products = torch.cat([slope_x * slope_x, slope_y * slope_y, slope_x * slope_y], dim=1)
    xx, yy, xy = blurred(blurred(products)).split(1, dim=1)
    xx, yy = xx + FLAT, yy + FLAT
    determinant = xx * yy - xy * xy
    for _ in range(steps):
        flow = _best_of_neighbours(flow, luma, other)
        error = flow_warp(other, flow, padding_mode="border") - luma
        x, y = blurred(blurred(torch.cat([slope_x * error, slope_y * error], dim=1))).split(1, dim=1)
        change = torch.cat([yy * x - xy * y, xx * y - xy * x], dim=1) / determinant
        trust = 1 / (blurred(error.square()) + NOISE)
        flow = blurred(trust * (flow - change.clamp(-1, 1))) / blurred(trust)
    return flow


def _best_of_neighbours(flow: Tensor, luma: Tensor, other: Tensor) -> Tensor:
    """At each place the flow found there or around, whichever fits best."""

    def misfit(guess: Tensor) -> Tensor:
        return blurred((flow_warp(other, guess, padding_mode="border") - luma).abs())

    far = GUESS_DISTANCE
    height, width = flow.shape[-2:]
    around = F.pad(flow, (far, far, far, far), mode="replicate")
    least = misfit(flow)
    best = flow
    for top, left in ((0, far), (2 * far, far), (far, 0), (far, 2 * far)):
        guess = around[..., top : top + height, left : left + width]
        error = misfit(guess)
        better = error < BETTER * least
        best, least = torch.where(better, guess, best), torch.where(better, error, least)
    return best
