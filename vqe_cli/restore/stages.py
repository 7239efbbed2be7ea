"""One chunk through the networks: stage I with its context, stage II on what is kept.

Large pictures are cut into tiles, and the answers to flips and rotations are averaged (SPEC section 6).

Neighbouring tiles share `overlap` pixels. In the middle half of these one fades into the other; the outer
quarters, where a tile lacks its surroundings most, are thrown away. So every pixel that is used has at
least overlap / 4 pixels of its tile around it, and at the middle of the fade overlap / 2.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqe_cli.errors import VqeError
from vqe_cli.networks.motion_fusion import MotionFusion
from vqe_cli.restore.device import Compute
from vqe_cli.restore.footprint import NOTHING, Footprint

# Pictures given to an image network at once hold at most this many pixels (one picture always goes).
BATCH_PIXELS = {"cpu": 1, "cuda": 1 << 20, "mps": 1 << 18}
# Flows of whole pictures are held in half precision, which tells a 30th of a pixel up to 64 pixels.
FLOW = torch.float16
# Bits 0 and 1: quarter turns; bit 2: a horizontal flip before them.
FLIP = 4
TURNS = {1: (0,), 2: (0, FLIP), 4: (0, FLIP, FLIP | 2, 2), 8: tuple(range(8))}


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


def tiled(run: Callable[..., Tensor], inputs: Sequence[Tensor], tiling: Tiling, scale: int = 1) -> Tensor:
    """`run` over the tiles of inputs (..., H, W), joined to (..., scale*H, scale*W) in float32.

    run: gives (..., scale*h, scale*w) of a tile of each input (..., h, w).
    """
    height, width = inputs[0].shape[-2:]
    rows, columns = tiling.spans(height), tiling.spans(width)
    if len(rows) == len(columns) == 1:
        return run(*inputs).float()
    joined: Tensor | None = None
    for row, (top, bottom) in enumerate(rows):
        down = fade(rows, row, scale, inputs[0].device)[:, None]
        for column, (left, right) in enumerate(columns):
            answer = run(*(x[..., top:bottom, left:right] for x in inputs)).float()
            if joined is None:
                joined = answer.new_zeros(*answer.shape[:-2], scale * height, scale * width)
            across = fade(columns, column, scale, answer.device)
            joined[..., scale * top : scale * bottom, scale * left : scale * right] += answer * (
                down * across
            )
    assert joined is not None
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


def motion_of(network: MotionFusion, clip: Tensor) -> tuple[Tensor, Tensor]:
    """The motion of a clip (T, 3, H, W) pair by pair, as `MotionFusion.motion` gives it, but in FLOW."""
    shape = (1, len(clip) - 1, 2, *clip.shape[-2:])
    to_previous, to_next = (torch.empty(shape, dtype=FLOW, device=clip.device) for _ in range(2))
    for t in range(len(clip) - 1):
        to_previous[:, t : t + 1], to_next[:, t : t + 1] = network.motion(clip[None, t : t + 2])
    return to_previous, to_next


@dataclass(frozen=True)
class Stage:
    """A network that is ready to run."""

    number: int
    """1 (clips) or 2 (frames)."""

    network: nn.Module
    """Prepared by `compute`; a video or an image network (`is_video`)."""

    compute: Compute
    """Device and precision."""

    tiling: Tiling
    """For pictures that are too large."""

    tta: int = 1
    """Flips and rotations that are averaged."""

    footprint: Footprint = NOTHING
    """Memory that it takes, as far as it was measured."""

    @property
    def is_video(self) -> bool:
        return bool(self.network.is_video)

    @property
    def scale(self) -> int:
        scale = self.network.scale
        assert isinstance(scale, int)
        return scale

    def __call__(self, clip: Tensor, pqf: Tensor, qp: Tensor, keep: slice) -> Tensor:
        """Enhance frames (T, 3, H, W) of one scene; gives those of `keep`, (K, 3, scale*H, scale*W), float32.

        clip: RGB, nominally 0 … 1, on the device. pqf (T,) bool: peaks. qp (T,) float, NaN where unknown.
        Raises VqeError when memory does not suffice or the network gives NaN or infinity.
        """
        with self.compute.running():
            if self.is_video:
                out = averaged(lambda turn: self._clip(turn, pqf, qp, keep), clip, self.tta)
            else:
                out = self._pictures(clip[keep], qp[keep])
        if not torch.isfinite(out).all():
            full = self.compute.precision == "fp32"
            raise VqeError(
                f"stage {self.number} gave values that are NaN or infinity in {self.compute.precision}.",
                "Its weights are broken: use others." if full else "Use --precision fp32.",
            )
        return out

    def _clip(self, clip: Tensor, pqf: Tensor, qp: Tensor, keep: slice) -> Tensor:
        """A clip by a video network, its motion found on whole pictures."""
        motion: tuple[Tensor, ...] = ()
        if self.tiling.tile and isinstance(self.network, MotionFusion):
            motion = motion_of(self.network, clip)

        def run(part: Tensor, *flows: Tensor) -> Tensor:
            known = {"motion": flows} if flows else {}
            out: Tensor = self.network(part[None], pqf[None], qp[None], keep, **known)
            return out[0]

        return tiled(run, (clip, *motion), self.tiling, self.scale)

    def _pictures(self, pictures: Tensor, qp: Tensor) -> Tensor:
        batch = max(1, BATCH_PIXELS[self.compute.device.type] // (pictures.shape[-2] * pictures.shape[-1]))
        return torch.cat(
            [self._batch(pictures[i : i + batch], qp[i : i + batch]) for i in range(0, len(pictures), batch)]
        )

    def _batch(self, pictures: Tensor, qp: Tensor) -> Tensor:
        def run(turn: Tensor) -> Tensor:
            out: Tensor = self.network(turn.contiguous(memory_format=torch.channels_last), qp)
            return out

        return tiled(lambda part: averaged(run, part, self.tta), (pictures,), self.tiling, self.scale)


def run_stages(
    stages: Sequence[Stage], clip: Tensor, pqf: Tensor, qp: Tensor, keep: slice, seconds: list[float]
) -> Tensor:
    """The kept frames of a chunk, (K, 3, s*H, s*W), after all stages.

    clip (T, 3, H, W), pqf (T,), qp (T,): the chunk with its context. keep: positions that are wanted.
    seconds: the time of each stage is added to it. Context goes only where a video network still needs it.
    """
    for position, stage in enumerate(stages):
        started = time.perf_counter()
        if any(later.is_video for later in stages[position + 1 :]):
            clip = stage(clip, pqf, qp, slice(0, len(clip)))
        else:
            clip = stage(clip, pqf, qp, keep)
            pqf, qp, keep = pqf[keep], qp[keep], slice(0, len(clip))
        stage.compute.finished()
        seconds[position] += time.perf_counter() - started
    return clip
