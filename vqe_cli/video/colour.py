"""Between decoded sample codes and RGB, in float on any device (SPEC section 7).

Equations: ITU-T H.273, section 8.3 (matrix coefficients, ranges) and figure 1 (chroma sample location). The
way to RGB upsamples chroma bilinearly; the way back exists for residuals alone, because only the network's
change is written: everything that the network left alone keeps the very codes that were decoded.

Planes are lists of tensors (N, 1, h, w) in code units: [Y, U, V], [R, G, B] or [Y]. Chroma planes of odd
pictures are rounded up, as FFmpeg stores them.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqe_cli.video.frame import Colour

# Weights of red and blue in luma (H.273, table 4).
LUMA_WEIGHTS = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020nc": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}


@lru_cache
def rgb_to_yuv_matrix(matrix: str) -> np.ndarray:
    """The (3, 3) float64 matrix from RGB in 0 … 1 to Y in 0 … 1 and U, V in -0.5 … 0.5 (H.273, 8.3).

    Raises ValueError for a name that has no such matrix.
    """
    if matrix == "ycgco":
        return np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    if matrix not in LUMA_WEIGHTS:
        raise ValueError(
            f"no matrix named {matrix!r}, only {', '.join([*LUMA_WEIGHTS, 'ycgco', 'rgb', 'gray'])}"
        )
    red, blue = LUMA_WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    blue_difference = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
    red_difference = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
    return np.stack([luma, blue_difference, red_difference])


def code_scales(colour: Colour) -> tuple[float, float, float]:
    """How many codes are 1.0 of luma and 1.0 of chroma, and the code of black (H.273, 8.3)."""
    if colour.full_range:
        whole = float(2**colour.bit_depth - 1)
        return whole, whole, 0.0
    step = float(2 ** (colour.bit_depth - 8))
    chroma = 219 * step if colour.matrix == "rgb" else 224 * step
    return 219 * step, chroma, 16 * step


def to_rgb(planes: Sequence[Tensor], colour: Colour) -> Tensor:
    """RGB (N, 3, H, W) of decoded planes, black 0.0 and white 1.0, not clipped (what lies beyond survives).

    planes: see the module. float64 stays float64, all else becomes float32. Gray gives three equal channels.
    """
    luma_scale, chroma_scale, black = code_scales(colour)
    planes = [plane if plane.dtype == torch.float64 else plane.float() for plane in planes]
    if colour.matrix == "gray":
        return ((planes[0] - black) / luma_scale).expand(-1, 3, -1, -1)
    if colour.matrix == "rgb":
        return (torch.cat(planes, dim=1) - black) / luma_scale
    neutral = float(2 ** (colour.bit_depth - 1))
    luma = (planes[0] - black) / luma_scale
    size = (luma.shape[-2], luma.shape[-1])
    chroma = [upsample_chroma((plane - neutral) / chroma_scale, size, colour) for plane in planes[1:]]
    return _mix(torch.cat([luma, *chroma], dim=1), np.linalg.inv(rgb_to_yuv_matrix(colour.matrix)))


def residual_to_planes(residual: Tensor, colour: Colour) -> list[Tensor]:
    """What a change of RGB, (N, 3, H, W), is in code units of each plane, float, without offset, not rounded.

    Chroma is brought down by the dual of the bilinear upsampling (`dual_filter`): a change that the chroma
    grid can hold comes back from `to_rgb` as it went in, and of the rest as little as possible is kept.
    For gray the change of luma by BT.601 is kept, which for a network that changes the three channels alike
    is theirs.
    """
    luma_scale, chroma_scale, _ = code_scales(colour)
    if colour.matrix == "rgb":
        return [channel * luma_scale for channel in residual.split(1, dim=1)]
    name = "bt601" if colour.matrix == "gray" else colour.matrix
    luma, *chroma = _mix(residual, rgb_to_yuv_matrix(name)).split(1, dim=1)
    if colour.matrix == "gray":
        return [luma * luma_scale]
    return [luma * luma_scale, *(downsample_chroma(plane, colour) * chroma_scale for plane in chroma)]


def add_residual(planes: Sequence[Tensor], residual: Sequence[Tensor], bit_depth: int) -> list[Tensor]:
    """Integer planes plus their residual, rounded to the nearest code and kept within 0 … 2^bit_depth - 1.

    planes: integer tensors (N, 1, h, w); residual: float tensors of the same shapes, from
    `residual_to_planes`. A residual below half a code leaves the sample as it is: zero residual returns the
    input bit for bit.
    """
    highest = 2**bit_depth - 1
    added = []
    for plane, change in zip(planes, residual, strict=True):
        codes = plane.to(torch.int32)
        steps = change.round().to(torch.int32)
        added.append(torch.where(steps == 0, codes, (codes + steps).clamp(0, highest)).to(plane.dtype))
    return added


def upscale_planes(planes: Sequence[Tensor], colour: Colour, scale: int) -> list[Tensor]:
    """Integer planes (N, 1, h, w) at `scale` times the size: what an upscaling network's residual adds to.

    Bicubic (Catmull-Rom), rounded and kept within the code range. Luma is centred (a picture's edges stay its
    edges); chroma moves by as much as its siting says, so that the written stream keeps the siting tag of its
    source.
    """
    highest = 2**colour.bit_depth - 1
    height, width = planes[0].shape[-2] * scale, planes[0].shape[-1] * scale
    offsets = (0.0, 0.0) if len(planes) == 1 or colour.matrix == "rgb" else chroma_offset(colour)
    across, down = colour.subsampling
    grown = []
    for number, plane in enumerate(planes):
        step_down, step_across, down_offset, across_offset = 1, 1, 0.0, 0.0
        if number and colour.matrix != "rgb":
            step_down, step_across, (down_offset, across_offset) = down, across, offsets
        out = _cubic(plane.float(), 2, -(-height // step_down), scale, step_down, down_offset)
        out = _cubic(out, 3, -(-width // step_across), scale, step_across, across_offset)
        grown.append(out.round().clamp(0, highest).to(plane.dtype))
    return grown


def to_tensors(planes: Sequence[np.ndarray], device: torch.device | str = "cpu") -> list[Tensor]:
    """Decoded planes (h, w), uint8 or uint16, as tensors (1, 1, h, w): uint8 as they are, uint16 as int32.

    int32 because torch knows hardly any operation on uint16; it travels to the device as 16 bits.
    """
    tensors = []
    for plane in planes:
        contiguous = np.ascontiguousarray(plane)
        if plane.dtype == np.uint8:
            tensors.append(torch.from_numpy(contiguous).to(device)[None, None])
        else:
            signed = torch.from_numpy(contiguous.view(np.int16)).to(device)
            tensors.append((signed.to(torch.int32) & 0xFFFF)[None, None])
    return tensors


def to_arrays(planes: Sequence[Tensor], bit_depth: int) -> tuple[np.ndarray, ...]:
    """Integer planes (1, 1, h, w) as arrays (h, w), uint8 or (above 8 bits) uint16: undoes `to_tensors`."""
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    return tuple(plane[0, 0].cpu().numpy().astype(dtype) for plane in planes)


# --- chroma ---


def chroma_offset(colour: Colour) -> tuple[float, float]:
    """Where the first chroma sample lies, (down, right) of the first luma sample, in luma samples (H.273)."""
    across, down = colour.subsampling
    horizontal = 0.0 if colour.siting in ("left", "topleft", "bottomleft") else (across - 1) / 2
    if colour.siting in ("topleft", "top"):
        return 0.0, horizontal
    if colour.siting in ("bottomleft", "bottom"):
        return float(down - 1), horizontal
    return (down - 1) / 2, horizontal


def upsample_chroma(chroma: Tensor, size: tuple[int, int], colour: Colour) -> Tensor:
    """Chroma (N, C, h, w) on the luma grid, size = (H, W): bilinear by siting, borders repeat the edge."""
    vertical, horizontal = chroma_offset(colour)
    across, down = colour.subsampling
    chroma = _linear(chroma, 2, size[0], down, vertical)
    return _linear(chroma, 3, size[1], across, horizontal)


def downsample_chroma(full: Tensor, colour: Colour) -> Tensor:
    """Chroma (N, C, H, W) on the luma grid, brought to the chroma grid (N, C, h, w), sizes rounded up.

    `downsample_chroma(upsample_chroma(x)) == x` to rounding, borders included; at an odd size the last row or
    column is not exact, for its chroma sample lies beyond the picture.
    """
    vertical, horizontal = chroma_offset(colour)
    across, down = colour.subsampling
    return _filtered(_filtered(full, 2, down, vertical), 3, across, horizontal)


@lru_cache
def dual_filter(step: int, offset: float) -> tuple[tuple[float, ...], int]:
    """Taps that undo bilinear upsampling by `step`, and the luma position of the first tap for sample 0.

    Of all filters over four chroma samples whose product with the upsampled grid is the identity, the one
    with the smallest norm: near the least-squares projection (so noise that the chroma grid cannot hold is
    suppressed), yet finite. A box filter would blur (1/8 3/4 1/8 per round trip for centred chroma), picking
    samples would alias.
    """
    first, last = floor(offset - 2 * step + 0.5), ceil(offset + 2 * step - 0.5)
    positions = np.arange(first, last + 1)
    shifts = np.arange(-4, 5)
    hats = np.clip(1 - np.abs(positions[None] - offset - step * shifts[:, None]) / step, 0, None)
    taps = np.linalg.lstsq(hats, (shifts == 0).astype(float), rcond=1e-10)[0]
    return tuple(float(tap) for tap in taps), first


def _mix(channels: Tensor, matrix: np.ndarray) -> Tensor:
    """(N, 3, H, W) times a (3, 3) matrix over the channels, in the tensor's own precision.

    Written out, as `_filtered` is: matrix products and convolutions would be rounded to TF32 on NVIDIA
    devices and to half precision under autocast.
    """
    parts = channels.unbind(dim=1)
    rows = [sum(float(weight) * part for weight, part in zip(row, parts, strict=True)) for row in matrix]
    return torch.stack([row for row in rows if isinstance(row, Tensor)], dim=1)


def _linear(plane: Tensor, dim: int, length: int, step: int, offset: float) -> Tensor:
    """Bilinear samples of `plane` along one dimension at every luma position 0 … length - 1."""
    if step == 1:
        return plane
    position = (torch.arange(length, dtype=torch.float64) - offset) / step
    below = position.floor()
    weight = (position - below).to(plane.dtype).to(plane.device)
    shape = [-1 if axis == dim else 1 for axis in range(4)]
    last = plane.shape[dim] - 1
    low, high = (index.long().clamp(0, last).to(plane.device) for index in (below, below + 1))
    start = plane.index_select(dim, low)
    return start + (plane.index_select(dim, high) - start) * weight.view(shape)


def _cubic(plane: Tensor, dim: int, length: int, scale: int, step: int, offset: float) -> Tensor:
    """Catmull-Rom samples of `plane` along one dimension: `length` of them, `scale` times as dense.

    Sample j of the result lies at luma position step * j + offset of the large picture, sample i of `plane`
    at step * i + offset of the small one, and large position P is small position (P + 0.5) / scale - 0.5.
    """
    large = step * torch.arange(length, dtype=torch.float64) + offset
    position = ((large + 0.5) / scale - 0.5 - offset) / step
    below = position.floor()
    t = position - below
    weights = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    shape = [-1 if axis == dim else 1 for axis in range(4)]
    last = plane.shape[dim] - 1
    out = torch.zeros(1, dtype=plane.dtype, device=plane.device)
    for tap, weight in enumerate(weights):
        index = (below.long() + tap - 1).clamp(0, last).to(plane.device)
        out = out + plane.index_select(dim, index) * weight.to(plane.dtype).to(plane.device).view(shape)
    return out


def _filtered(plane: Tensor, dim: int, step: int, offset: float) -> Tensor:
    """`plane` through `dual_filter` along one dimension, one output for every `step` samples."""
    if step == 1:
        return plane
    taps, first = dual_filter(step, offset)
    length = -(-plane.shape[dim] // step)
    before, after = (
        -first,
        (length - 1) * step + first + len(taps) - plane.shape[dim],
    )  # first is never positive
    across = dim == 3
    pad = (before, max(after, 0), 0, 0) if across else (0, 0, before, max(after, 0))
    padded = F.pad(plane, pad, mode="replicate")
    span = (length - 1) * step + 1
    out = torch.zeros_like(padded.narrow(dim, 0, length))
    for position, tap in enumerate(taps):
        samples = padded.narrow(dim, position, span)
        out += tap * (samples[..., ::step] if across else samples[..., ::step, :])
    return out
