"""Clips in memory and what is cut out of them: decoded planes, pairs of compressed and clean, batches of RGB
crops."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqe_cli.bitstream.peaks import mark
from vqe_cli.errors import VqeError
from vqe_cli.video.colour import rgb_to_yuv_matrix, to_rgb
from vqe_cli.video.frame import Colour
from vqe_cli.video.sources import open_reader

Planes = tuple[np.ndarray | Tensor, ...]


@dataclass(frozen=True)
class Clip:
    """A decoded clip of T frames."""

    name: str
    """Of its file, without suffix."""
    planes: Planes
    """Each (T, h, w) as decoded: arrays in memory, or tensors on the device where the cache lies there."""
    colour: Colour
    """How its codes are to be read."""
    qp: np.ndarray
    """(T,), NaN where unknown."""
    pqf: np.ndarray
    """(T,) bool: peak quality frames."""

    @property
    def frames(self) -> int:
        return self.planes[0].shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.planes[0].shape[1], self.planes[0].shape[2]

    @property
    def nbytes(self) -> int:
        return sum(plane.nbytes for plane in self.planes)

    def on(self, device: torch.device) -> "Clip":
        """The same clip with its planes on a device."""
        return replace(self, planes=tuple(torch.as_tensor(plane).to(device) for plane in self.planes))


@dataclass(frozen=True)
class Pair:
    """A compressed clip, its truth and the recipe that made it. errors: (T,) of `picture_errors`."""

    recipe: str
    lq: Clip
    gt: Clip
    errors: np.ndarray


@dataclass(frozen=True)
class Batch:
    """Crops of N clips of T frames."""

    lq: Tensor
    """Compressed (N, T, 3, h, w), RGB in [0, 1]."""
    gt: Tensor
    """True (N, T, 3, s*h, s*w), RGB in [0, 1]."""
    qp: Tensor
    """(N, T), NaN where hidden or unknown."""
    pqf: Tensor
    """(N, T) bool."""
    errors: Tensor
    """(N, T) of the whole pictures that the crops are from, as in `Pair`."""
    seeds: tuple[int, ...] = ()
    """A number for each clip, from which all that a task draws for it comes, so that it depends neither on
    the other clips nor on what was drawn before."""

    def head(self, count: int) -> "Batch":
        """Its first `count` clips."""
        return self._each(lambda tensor: tensor[:count], self.seeds[:count])

    def split(self, count: int) -> "list[Batch]":
        """Its clips in up to `count` parts, nearly equal."""
        bounds = [len(self.lq) * part // count for part in range(count + 1)]
        parts = [slice(first, last) for first, last in pairwise(bounds) if first < last]
        return [self._each(itemgetter(part), self.seeds[part]) for part in parts]

    def at(self, frames: slice) -> "Batch":
        """Some frames of every clip."""
        return self._each(lambda tensor: tensor[:, frames], self.seeds)

    def _each(self, part: Callable[[Tensor], Tensor], seeds: tuple[int, ...]) -> "Batch":
        lq, gt, qp, pqf, errors = map(part, (self.lq, self.gt, self.qp, self.pqf, self.errors))
        return Batch(lq, gt, qp, pqf, errors, seeds)


def decode_clip(
    path: Path, pqf: str = "auto", pqf_rule: str = "prominent", drop: frozenset[int] = frozenset()
) -> Clip:
    """Decode a whole short clip; frames whose index is in `drop` are left out (duplicate removal). pqf,
    pqf_rule: how peaks are found, as `mark` names it."""
    with open_reader(path) as reader:
        frames = [frame for frame in reader if frame.index not in drop]
        colour = reader.info.colour
    if not frames:
        raise VqeError(f"{path} has no frames.", "Remove it from the data folder.")
    qps = [frame.qp for frame in frames]
    irap, sequence = [frame.irap for frame in frames], [frame.sequence for frame in frames]
    peaks = mark(qps, irap, sequence, pqf_rule, pqf)
    network_qp = [np.nan if frame.network_qp is None else frame.network_qp for frame in frames]
    planes = tuple(np.stack([frame.planes[i] for frame in frames]) for i in range(len(frames[0].planes)))
    return Clip(path.stem, planes, colour, np.array(network_qp, np.float32), np.array(peaks, bool))


def duplicates(clip: Clip) -> frozenset[int]:
    """Indices of the frames that equal their predecessor bit for bit (RMD, SPEC section 4)."""
    return frozenset(
        t
        for t in range(1, clip.frames)
        if all(np.array_equal(plane[t], plane[t - 1]) for plane in clip.planes)
    )


def picture_errors(lq: Clip, gt: Clip) -> np.ndarray:
    """Mean squared error (T,) of each picture's luma (green, where it is RGB) against the truth, peak 1; a
    smaller one is enlarged by bicubic interpolation first."""
    errors = []
    for picture, truth in zip(lq.planes[0], gt.planes[0], strict=True):
        pair = [torch.as_tensor(plane).float()[None, None] for plane in (picture, truth)]
        given, wanted = (x / (2**clip.colour.bit_depth - 1) for x, clip in zip(pair, (lq, gt), strict=True))
        if given.shape != wanted.shape:
            given = F.interpolate(given, size=wanted.shape[-2:], mode="bicubic", align_corners=False)
        errors.append(float(F.mse_loss(given, wanted)))
    return np.array(errors, np.float32)


def clip_rgb(clip: Clip, frames: slice, device: torch.device | str = "cpu") -> Tensor:
    """Whole frames of a clip as RGB (T, 3, H, W)."""
    planes = [torch.as_tensor(plane[frames]).to(device).float()[:, None] for plane in clip.planes]
    return to_rgb(planes, clip.colour)


@dataclass(frozen=True)
class Cut:
    """Where a crop lies in a clip."""

    clip: Clip
    """What it is cut from."""
    first: int
    """Its first frame."""
    count: int
    """Frames."""
    top: int
    """Upper edge, luma pixels."""
    left: int
    """Left edge, luma pixels."""
    size: int
    """Side of the square, luma pixels."""

    def planes(self) -> list[np.ndarray | Tensor]:
        """The planes (count, h, w) of the crop, as decoded."""
        sx, sy = self.clip.colour.subsampling
        cut = []
        for index, plane in enumerate(self.clip.planes):
            dx, dy = (sx, sy) if index else (1, 1)
            rows = slice(self.top // dy, (self.top + self.size) // dy)
            columns = slice(self.left // dx, (self.left + self.size) // dx)
            cut.append(plane[self.first : self.first + self.count, rows, columns])
        return cut


def crops_rgb(cuts: Sequence[Cut], device: torch.device | str = "cpu") -> Tensor:
    """RGB (N, T, 3, size, size) of crops of one size: sample codes travel to the device, the conversion
    happens there, at once for all crops of the same colour."""
    parts: list[Tensor] = []
    order: list[int] = []
    for colour in dict.fromkeys(cut.clip.colour for cut in cuts):
        chosen = [index for index, cut in enumerate(cuts) if cut.clip.colour == colour]
        stacks = [_stacked(same) for same in zip(*(cuts[index].planes() for index in chosen), strict=True)]
        planes = [_to_device(stack, device).float().flatten(0, 1)[:, None] for stack in stacks]
        parts.append(to_rgb(planes, colour).unflatten(0, (len(chosen), -1)))
        order += chosen
    rgb = torch.cat(parts)
    return rgb if len(parts) == 1 else rgb[torch.tensor(order, device=rgb.device).argsort()]


def _stacked(planes: Sequence[np.ndarray | Tensor]) -> Tensor:
    if isinstance(planes[0], np.ndarray):  # hundreds of small pieces, which are slower to turn into tensors
        return torch.from_numpy(np.stack(planes))
    return torch.stack([torch.as_tensor(plane) for plane in planes])


def _to_device(codes: Tensor, device: torch.device | str) -> Tensor:
    """Codes on the device; pinned first on the way to a GPU, so that copying overlaps with computing."""
    if torch.device(device).type == "cuda" and codes.device.type == "cpu":
        return codes.pin_memory().to(device, non_blocking=True)
    return codes.to(device)


def recoloured(x: Tensor, colours: Sequence[int]) -> Tensor:
    """Of each clip of RGB (N, ..., 3, H, W) one of sixteen that a codec could as well have been given.
    colours: N of 0 … 15; 1 inverts luma, 2 and 4 the chroma planes, 8 exchanges these (of BT.709: other
    matrices are near enough). Colours may leave the gamut."""
    if not any(colours):
        return x
    matrices = torch.stack([recolouring(chosen) for chosen in range(16)]).to(x)
    inverted = torch.tensor([chosen & 1 for chosen in range(16)]).to(x)
    index = torch.tensor(colours, device=x.device)
    changed = torch.einsum("nij,n...jhw->n...ihw", matrices[index], x)
    return changed + inverted[index].view(-1, *[1] * (x.ndim - 1))


@cache
def recolouring(colours: int) -> Tensor:
    """The matrix (3, 3) that recolours RGB, before inverted luma is lifted by one."""
    to_yuv = torch.from_numpy(rgb_to_yuv_matrix("bt709"))
    signs = torch.tensor([-1.0 if colours & bit else 1.0 for bit in (1, 2, 4)], dtype=to_yuv.dtype)
    change = signs.diag()
    if colours & 8:
        change = change[[0, 2, 1]]
    return to_yuv.inverse() @ change @ to_yuv


def turned(x: Tensor, turn: int) -> Tensor:
    """One of the eight flips and rotations (0 … 7) of (..., H, W)."""
    if turn & 4:
        x = x.flip(-1)
    return torch.rot90(x, turn & 3, (-2, -1))


def turned_each(x: Tensor, turns: Sequence[int]) -> Tensor:
    """Each clip of square pictures (N, ..., H, H) turned its own way."""
    out = torch.empty_like(x)
    for turn in set(turns):
        chosen = torch.tensor([index for index, own in enumerate(turns) if own == turn], device=x.device)
        out[chosen] = turned(x[chosen], turn)
    return out
