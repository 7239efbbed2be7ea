"""The ways in which several results become one: from the members' frames to fused planes.

Planes are fused as float in code units and rounded once, by whoever writes them (`rounded`).
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vqe_cli.networks.layers import box_mean
from vqe_cli.video.colour import to_rgb
from vqe_cli.video.frame import Colour, Frame
from vqe_cli.weights.ensembles import Fusion


class Guard:
    """Judges members segment by segment; the members stand in the order of preference, the safest last.

    limit_db: least RGB-PSNR of a member against the input over a segment. segment: frames judged together,
    0 for the whole video. names: of the members, for `sentences`.
    """

    def __init__(self, names: Sequence[str], limit_db: float, segment: int) -> None:
        self.segment = segment
        self.replaced: list[tuple[int, int]] = []  # (first frame, member taken) of the first few
        self.segments = self.strayed = 0
        self._names, self._limit_db = list(names), limit_db
        self._errors = [0.0] * len(names)
        self._frames = 0

    def see(self, given: Tensor, members: Sequence[Tensor]) -> None:
        """A frame of the present segment: input and members as RGB (1, 3, H, W), black 0 and white 1."""
        for position, member in enumerate(members):
            self._errors[position] += float((member - given).square().mean())
        self._frames += 1

    def decide(self, first_frame: int) -> int:
        """The member that the segment, which starts at `first_frame`, takes; the next segment begins."""
        levels = [
            math.inf if error == 0 else -10 * math.log10(error / self._frames) for error in self._errors
        ]
        fits = [position for position, level in enumerate(levels) if level >= self._limit_db]
        chosen = fits[0] if fits else len(levels) - 1
        self.segments += 1
        if chosen:
            self.strayed += 1
            self.replaced = [*self.replaced, (first_frame, chosen)][:3]
        self._errors, self._frames = [0.0] * len(self._errors), 0
        return chosen

    def sentences(self) -> list[str]:
        """What was replaced, in one sentence; none where nothing was."""
        if not self.strayed:
            return []
        where = ", ".join(f"frame {frame} ({self._names[member]})" for frame, member in self.replaced)
        more = " and further on" if self.strayed > len(self.replaced) else ""
        return [
            f"{self._names[0]} strays from the input (below {self._limit_db:g} dB) in {self.strayed} of "
            f"{self.segments} segments, which are taken from a safer member: from {where}{more}"
        ]


WINDOW_PX = 11  # of the local variance (NTIRE 2021 report, team VUE)

# Two results as RGB (1, 3, H, W) to the share of the first, (1, 1, H, W).
Mask = Callable[[Tensor, Tensor], Tensor]
Planes = Sequence[Tensor]


@dataclass(frozen=True)
class MemberFrames:
    """One shown picture as all members have it.

    frame: times and side data. members: planes of each, (1, 1, h, w), float, in code units. given: the
    compressed input's planes at the members' size, None where it is not there.
    """

    frame: Frame
    members: tuple[Planes, ...]
    given: Planes | None = None


def fused(
    groups: Iterable[MemberFrames],
    fusion: Fusion,
    colour: Colour,
    mask: Mask | None = None,
    guard: Guard | None = None,
) -> Iterator[tuple[Frame, list[Tensor]]]:
    """Every frame with its fused planes, float, in order, by the method that was chosen (and checked).

    colour: of the planes. mask: of the mask network, for `gated`. guard: decides and counts, for `guard`.
    """
    if fusion.method == "adaptive":
        yield from _adaptive(groups, colour)
    elif fusion.method == "guard":
        assert guard is not None
        yield from _guarded(groups, colour, guard)
    else:
        for group in groups:
            if fusion.method == "gated":
                assert mask is not None
                one, other = group.members
                # (1 - M) * B + M * A
                planes = blended(other, one, mask(to_rgb(one, colour), to_rgb(other, colour)))
            else:
                planes = weighted(group.members, fusion.shares(len(group.members)))
            yield group.frame, planes


def weighted(members: Sequence[Planes], shares: Sequence[float]) -> list[Tensor]:
    """The sum of `shares` (which sum up to 1) times the members; where they agree, exactly what they have."""
    first = [plane.float() for plane in members[0]]
    for planes, share in zip(members[1:], shares[1:], strict=True):
        pairs = zip(first, members[0], planes, strict=True)
        first = [total + share * (plane - start) for total, start, plane in pairs]
    return first


def blended(one: Planes, other: Planes, share: Tensor) -> list[Tensor]:
    """(1 - share) * one + share * other; share (1, 1, H, W) is averaged over what a chroma sample covers."""
    blend = []
    for first, second in zip(one, other, strict=True):
        height, width = first.shape[-2:]
        part = F.adaptive_avg_pool2d(share, (height, width))
        blend.append(torch.lerp(first, second, part))  # exact at both ends
    return blend


def local_variance(rgb: Tensor) -> Tensor:
    """Variance (N, 1, H, W) of the mean of RGB (N, 3, H, W) over 11x11 pixels, of which those outside the
    picture do not count.
    """
    gray = rgb.mean(dim=1, keepdim=True)
    gray = gray - gray.mean()  # a small number's square is exact enough in float32
    mean, mean_square = box_mean(torch.cat([gray, gray.square()], dim=1), WINDOW_PX).split(1, dim=1)
    return (mean_square - mean.square()).clamp(min=0)


def variance_mask(variance: Tensor, around: Sequence[Tensor]) -> Tensor:
    """The variance of a frame brought to 0 … 1 by the least and the greatest of the frames around, itself
    included; 0, the first member, where all is flat.
    """
    least = torch.stack([each.min() for each in around]).min()
    greatest = torch.stack([each.max() for each in around]).max()
    return (variance - least) / (greatest - least).clamp(min=1e-12)


def rounded(planes: Planes, bit_depth: int) -> list[Tensor]:
    """Float planes as whole codes within 0 … 2^bit_depth - 1: uint8, or int32 above 8 bits."""
    dtype = torch.uint8 if bit_depth == 8 else torch.int32
    return [plane.round().clamp(0, 2**bit_depth - 1).to(dtype) for plane in planes]


def _adaptive(groups: Iterable[MemberFrames], colour: Colour) -> Iterator[tuple[Frame, list[Tensor]]]:
    """out = (1 - M) * A + M * B, M from the local variance of B over the frames t-1, t, t+1 (equations 4 to 6
    of the NTIRE 2021 report): texture comes from B, smooth areas from A, the steadier member. One frame is
    held back.
    """
    near: deque[tuple[MemberFrames, Tensor]] = deque(maxlen=3)

    def blend(position: int) -> tuple[Frame, list[Tensor]]:
        group, variance = near[position]
        mask = variance_mask(variance, [each for _, each in near])
        return group.frame, blended(group.members[0], group.members[1], mask)

    for group in groups:
        near.append((group, local_variance(to_rgb(group.members[1], colour))))
        if len(near) > 1:
            yield blend(-2)
    if near:
        if len(near) == 3:
            near.popleft()
        yield blend(-1)


def _guarded(
    groups: Iterable[MemberFrames], colour: Colour, guard: Guard
) -> Iterator[tuple[Frame, list[Tensor]]]:
    """The first member that has not strayed from the input, segment by segment.

    A segment of codes, not of floats, is held back: nothing is mixed, so that rounding now changes nothing.
    """
    waiting: list[tuple[MemberFrames, list[list[Tensor]]]] = []

    def release() -> Iterator[tuple[Frame, list[Tensor]]]:
        member = guard.decide(waiting[0][0].frame.index)
        yield from ((group.frame, [p.float() for p in codes[member]]) for group, codes in waiting)
        waiting.clear()

    for group in groups:
        assert group.given is not None
        guard.see(to_rgb(group.given, colour), [to_rgb(member, colour) for member in group.members])
        codes = [rounded(member, colour.bit_depth) for member in group.members]
        waiting.append((replace(group, members=(), given=None), codes))
        if len(waiting) == guard.segment:
            yield from release()
    if waiting:
        yield from release()
