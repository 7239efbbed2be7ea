"""MotionFusion, the network of `balanced`: every frame takes from its neighbours what they show better.

    clip, QPs, peak quality frames
      1. enhance   each picture by itself, to the size of the output (QECNN); its QP becomes a fourth plane
      2. motion    between neighbours, both ways, by least squares on the pictures (`vqe_cli.networks.refine`)
      3. carry     to each frame along the motion, from the past and from the future: the picture of the
                   previous frame, that of the nearest peak, and running means along both routes
      4. fuse      how these eight differ from the frame's own picture, damped where they cannot be trusted,
                   is blended into a correction; residual blocks, where there are any, add theirs

Peaks stand where BasicVSR++ has its second-order neighbour, as in the NTIRE 2022 winners' network (SPEC
section 4). Untrained, the network gives what its single-frame network gives.

Pictures are RGB in [0, 1]. Shapes: N clips, T frames, H x W pixels of the input, h x w pixels of the output,
which are `scale` times as many each way.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from vqe_cli.networks.bounds import check_settings
from vqe_cli.networks.flow import flow_warp, resize_flow
from vqe_cli.networks.layers import ResidualBlocks, box_mean, pad_to_multiple
from vqe_cli.networks.muna import NeighbourhoodAttention, Reference
from vqe_cli.networks.propagation import Visit, choose, nearest_peak, plan_visits
from vqe_cli.networks.qecnn import QECNN, FoldedQECNN
from vqe_cli.networks.refine import least_squares_flow

# QPs: in the fourth plane of a picture in units of GREATEST_QP, elsewhere in tens from MIDDLE_QP.
GREATEST_QP = 51
MIDDLE_QP = 32  # also what stands in for an unknown one
QP_UNIT = 10
MEMORY = 0.5  # share of a running mean that is from the frames before
BELOW_BLACK = 0.1  # share that is carried of values below 0, as in the branches that the weights are from
ROUTES = 4  # from the previous frame and from the nearest peak, in the future and in the past
CARRIED = 2 * ROUTES  # by each a running mean and a picture
# Enhanced neighbours differ by about 0.03 (of 1). A difference counts less the larger it is around its place,
# because then the motion is wrong, and the less the picture agrees with the one from the opposite direction:
# half where the root mean square in a window of so many pixels reaches these limits. Which limit is best, the
# blend learns.
PLAUSIBLE = (0.008, 0.02, 0.05)
AGREEING = (0.008, 0.025)
WINDOW = 5
FORMS = len(PLAUSIBLE) + len(AGREEING)
DIFFERENCES = FORMS * CARRIED
CENTRED = 8.0  # the first bias of attention to the place itself: a warp, but for a thousandth
RING = ((2, 1, 2), (1, 0, 1), (2, 1, 2))  # the blend's weights for the pixel itself, beside it and across
# Standard deviation of luma in a window of so many pixels, in the middle between flat and textured.
ACTIVITY_WINDOW = 9
MIDDLE_ACTIVITY = 0.03
# The residual blocks want numbers of about 0.3 and give such, of which small steps are enough: else the
# optimizer disturbs more than there is to gain. The blend, whose input is small, needs weights of about
# 0.5: large steps.
DIFFERENCE_GAIN = 10.0
CORRECTION_STEP = 0.1
BLEND_STEP = 10.0
FOLD = 2  # the residual blocks see pictures folded to half their size
EVIDENCE = 3 + 2 + CARRIED + 3 + 3 * DIFFERENCES  # planes that they see


# Flows to the previous and to the next frames.
Motion = tuple[Tensor, Tensor]


class MotionFusion(nn.Module):
    """Quality enhancement of clips, at the same size or larger.

    spatial: settings of the single-frame network (`qecnn.QECNN`), whose scale holds. blocks, channels: number
    and width of the residual blocks behind the blend; without any the correction is the blend's alone.
    alignment: how pictures are carried, "warp" along the flow, or "muna" by attention to the window of nine
    pixels around the flow's end. Raises ValueError for another one.
    """

    is_video = True

    def __init__(
        self, spatial: Mapping[str, Any], blocks: int = 10, channels: int = 64, alignment: str = "warp"
    ) -> None:
        super().__init__()
        if alignment not in ("warp", "muna"):
            raise ValueError(f"alignment is warp or muna, not {alignment!r}")
        self.spatial: QECNN | FoldedQECNN = single_frame_network(spatial)
        self.scale = self.spatial.scale
        self.multiple = math.lcm(self.spatial.multiple, FOLD)
        self.attention = PictureAttention() if alignment == "muna" else None
        self.blend = Blend()
        self.residual = FoldedBlocks(EVIDENCE, channels, blocks) if blocks else None

    def forward(
        self,
        clip: Tensor,
        pqf: Tensor | None = None,
        qp: Tensor | None = None,
        keep: slice = slice(None),
        motion: Motion | None = None,
    ) -> Tensor:
        """Enhance a clip (N, T, 3, H, W) to (N, K, 3, h, w), its frames `keep`.

        pqf (N, T) marks the peak quality frames; None is none. qp (N, T) on HEVC's scale, NaN where unknown;
        None is all unknown. motion: what `motion` gives for the clip, found here when it is None. A tile
        needs that part of the whole picture's: motion is searched for further than tiles overlap.
        """
        peaks = torch.zeros(clip.shape[:2], dtype=torch.bool) if pqf is None else pqf.to("cpu", torch.bool)
        qp = clip.new_full(clip.shape[:2], float("nan")) if qp is None else qp.to(clip)
        frames, qps = clip.unbind(1), qp.unbind(1)
        enhanced = frame_by_frame(self.enhance, frames, qps)
        to_previous, to_next = map(self.enlarged, motion or self.motion(clip))
        move = self.attention or warp
        past = carry(enhanced, to_previous, peaks, move)
        future = carry(enhanced[::-1], to_next.flip(1), peaks.flip(1), move)[::-1]
        kept = (frames[keep], qps[keep], enhanced[keep], past[keep], future[keep])
        return torch.stack(frame_by_frame(self.fuse, *kept), dim=1)

    def for_inference(self) -> "MotionFusion":
        """The same network for inference alone, its single-frame network folded, which is faster."""
        if isinstance(self.spatial, QECNN):
            self.spatial = self.spatial.for_inference()
        return self

    def enhance(self, frame: Tensor, qp: Tensor) -> Tensor:
        """Each frame (N, 3, H, W) by itself, with its QP (N,) as fourth plane: (N, 4, h, w)."""
        picture = self.spatial(frame, qp)
        grade = qp.nan_to_num(MIDDLE_QP) / GREATEST_QP
        return torch.cat([picture, plane(grade, picture)], dim=1)

    def motion(self, clip: Tensor) -> Motion:
        """Flows of a clip (N, T, 3, H, W) to the previous and to the next frames, each (N, T-1, 2, H, W), in
        pixels of the input."""
        if clip.shape[1] == 1:
            nothing = clip.new_zeros(len(clip), 0, 2, *clip.shape[-2:])
            return nothing, nothing
        earlier, later = clip[:, :-1].flatten(0, 1), clip[:, 1:].flatten(0, 1)
        to_previous, to_next = (
            least_squares_flow(*pair).unflatten(0, (len(clip), -1))
            for pair in ((later, earlier), (earlier, later))
        )
        return to_previous, to_next

    def enlarged(self, flows: Tensor) -> Tensor:
        """Flows (N, T-1, 2, H, W) in pixels of the input as (N, T-1, 2, h, w) in those of the output."""
        size = (self.scale * flows.shape[-2], self.scale * flows.shape[-1])
        return resize_flow(flows.flatten(0, 1).float(), size).unflatten(0, flows.shape[:2])

    def fuse(self, frame: Tensor, qp: Tensor, enhanced: Tensor, past: Tensor, future: Tensor) -> Tensor:
        """The picture (N, 3, h, w) of a frame (N, 3, H, W) with its QP (N,): what `enhance` made of it (N, 4,
        h, w), corrected by what `carry` brought to it from the past and the future, (N, 2, 2, 4, h, w) each.
        """
        picture, grade = enhanced.split([3, 1], dim=1)
        carried, grades = torch.stack([future, past], dim=3).flatten(1, 3).split([3, 1], dim=2)
        level = (GREATEST_QP * grade - MIDDLE_QP) / QP_UNIT
        worse = GREATEST_QP * (grades[:, :, 0] - grade) / QP_UNIT
        differences = trusted(carried, picture)
        correction = self.blend(differences, level.mean((1, 2, 3)), worse.mean((2, 3)), activity(picture))
        if self.residual is not None:
            if self.scale > 1:
                frame = F.interpolate(frame, scale_factor=self.scale, mode="bicubic", align_corners=False)
            known = plane((~qp.isnan()).to(picture), picture)
            small = [DIFFERENCE_GAIN * part for part in (frame - picture, differences.flatten(1, 2))]
            correction = correction + CORRECTION_STEP * self.residual(picture, level, known, worse, *small)
        return picture + correction.to(picture.dtype)


def single_frame_network(settings: Mapping[str, Any]) -> QECNN:
    """The network of these settings. Raises ValueError for what no setting of a QECNN is."""
    unknown = settings.keys() - inspect.signature(QECNN).parameters.keys()
    if unknown:
        raise ValueError(f"spatial has the setting {str(min(unknown, key=str))[:60]!r}, which QECNN has not")
    check_settings(QECNN, settings)
    return QECNN(**settings)


def frame_by_frame(function: Callable[..., Tensor], *clips: Sequence[Tensor]) -> list[Tensor]:
    """`function` of each frame of clips, which are tensors (N, ...) a frame: without gradients one by one, so
    that memory does not grow with the clip; with gradients, on crops, all at once, which is faster."""
    if not torch.is_grad_enabled():
        return [function(*frame) for frame in zip(*clips, strict=True)]
    return list(function(*(torch.cat(list(clip)) for clip in clips)).split(len(clips[0][0])))


def plane(values: Tensor, like: Tensor) -> Tensor:
    """Values (N,) as a plane each, (N, 1, h, w), of the size of pictures (N, C, h, w)."""
    return values.view(-1, 1, 1, 1).expand(-1, -1, *like.shape[-2:])


# Moves the pictures (N, 8, h, w) of another frame to a frame (N, 4, h, w), by the flow (N, 2, h, w) between.
Move = Callable[[Tensor, Tensor, Tensor], Tensor]


def warp(picture: Tensor, source: Tensor, flow: Tensor) -> Tensor:
    """`source` along the flow."""
    return flow_warp(source, flow)


class PictureAttention(nn.Module):
    """For each pixel the mixture of the nine around the flow's end that is most like what is there (`muna`).

    At first these are the pixels at the flow's end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attend = NeighbourhoodAttention(8, candidates=9, heads=1)
        with torch.no_grad():
            self.attend.bias[:, 4] = CENTRED
        for parameter in self.attend.query.parameters():
            nn.init.zeros_(parameter)

    def forward(self, picture: Tensor, source: Tensor, flow: Tensor) -> Tensor:
        with torch.autocast(source.device.type, enabled=False):  # pictures are not rounded
            asking = torch.cat([picture, picture], dim=1).float()
            reference = Reference(source.float(), flow.float())
            weights = {name: weight.float() for name, weight in self.attend.named_parameters()}
            return functional_call(self.attend, weights, (asking, reference)).to(source.dtype)


def carry(pictures: Sequence[Tensor], flows: Tensor, peaks: Tensor, move: Move = warp) -> list[Tensor]:
    """What is brought to each frame along the motion from those before it: T tensors (N, 2, 2, 4, h, w).

    pictures: T tensors (N, 4, h, w). flows (N, T-1, 2, h, w): to the frame before. peaks (N, T), on the CPU.
    Of the two dimensions of 2 the first is a running mean and a single picture, the second is the route: from
    the previous frame, and from the nearest peak at least two frames away (the frame two before, where there
    is none). The first frame stands in for those before it. move: how pictures get from frame to frame.
    """
    visits = plan_visits(flows, nearest_peak(peaks))
    routes = [carry_from(pictures, visits, of_peaks, move) for of_peaks in (False, True)]
    return [torch.stack(brought, dim=2) for brought in zip(*routes, strict=True)]


def carry_from(
    pictures: Sequence[Tensor], visits: Sequence[Visit], of_peaks: bool, move: Move
) -> list[Tensor]:
    """One route of `carry`: T tensors (N, 2, 4, h, w)."""
    brought: list[Tensor] = []
    handed_on: list[Tensor] = []  # by each frame: its running mean and its own picture, (N, 8, h, w)
    source = moved = torch.cat([pictures[0], pictures[0]], dim=1)
    for index, picture in enumerate(pictures):
        if index > 0:
            visit = visits[index - 1]
            if not of_peaks or visit.renew is None:
                source, flow = handed_on[-1], visit.flow_1
            else:
                source, flow = choose(visit.renew, handed_on[-2], source), visit.flow_2
            moved = move(picture, source, flow)
        mean, neighbour = moved.chunk(2, dim=1)
        own = F.leaky_relu(picture, BELOW_BLACK)
        mean = MEMORY * mean + (1 - MEMORY) * own
        handed_on = [*handed_on[-1:], torch.cat([mean, own], dim=1)]
        brought.append(torch.stack([mean, neighbour], dim=1))
    return brought


def trusted(carried: Tensor, picture: Tensor) -> Tensor:
    """How carried pictures (N, CARRIED, 3, h, w) differ from a frame's own (N, 3, h, w), damped in each of
    FORMS ways where they are not to be trusted: (N, DIFFERENCES, 3, h, w).

    Opposite directions stand side by side.
    """
    differences = carried - picture[:, None]
    opposite = carried.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
    error, disagreement = mean_square(differences), mean_square(carried - opposite)
    damped = [differences / (1 + error / limit**2) for limit in PLAUSIBLE]
    damped += [differences / (1 + disagreement / limit**2) for limit in AGREEING]
    return torch.cat(damped, dim=1)


def mean_square(differences: Tensor) -> Tensor:
    """Of differences (N, D, 3, h, w), in a window around each place: (N, D, 1, h, w)."""
    return box_mean(differences.square().mean(dim=2), WINDOW)[:, :, None]


def activity(picture: Tensor) -> Tensor:
    """How much there is to see around each place of a picture (N, 3, h, w): (N, 1, h, w), from -1 where it is
    flat to 1 in strong texture."""
    luma = picture.float().mean(dim=1, keepdim=True)
    mean, square = (
        F.avg_pool2d(F.pad(x, [ACTIVITY_WINDOW // 2] * 4, "replicate"), ACTIVITY_WINDOW, 1)
        for x in (luma, luma**2)
    )
    deviation = (square - mean**2).clamp(min=1e-8).sqrt()
    return (deviation / MIDDLE_ACTIVITY).log2().div(3).clamp(-1, 1)


class Blend(nn.Module):
    """What to add to a picture of the differences of others from it; zero at first.

    One convolution, alike for all colours and directions, whose weights follow the QPs of the picture and
    of the others and how much there is to see, because a neighbour is worth more or less with them. weight
    (8, DIFFERENCES, 3): twice 4, always and by `activity`; of each twice 2, always and by the picture's QP;
    of each twice 1, always and by how much worse the others' QPs are; for the pixels of RING.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, DIFFERENCES, 3))

    def forward(self, differences: Tensor, level: Tensor, worse: Tensor, active: Tensor) -> Tensor:
        """(N, 3, h, w) of the differences (N, DIFFERENCES, 3, h, w) that `trusted` gives, the pictures' QPs
        (N,), how much worse those of the carried are (N, CARRIED), both about 1 for ten steps, and `activity`
        (N, 1, h, w)."""
        with torch.autocast(differences.device.type, enabled=False):  # large weights may cancel each other
            weight = self.weight.float().view(1, 2, 2, 2, DIFFERENCES, 3)
            level, worse = level.view(-1, 1, 1, 1, 1), worse.repeat(1, FORMS).view(-1, 1, DIFFERENCES, 1)
            always, by_level = weight.unbind(2)
            always, by_worse = (always + level * by_level).unbind(2)
            kernel = always + worse * by_worse  # (N, 2, DIFFERENCES, 3)
            # Differences are weighed at each pixel first, once for each part of the ring; then the parts are
            # gathered from around.
            weighed = kernel.transpose(2, 3).flatten(1, 2) @ differences.float().flatten(2)
            parts = weighed.view(-1, 3, *differences.shape[-3:]).transpose(1, 2).flatten(0, 1)
            ring = torch.tensor(RING, device=differences.device)
            gather = torch.stack([ring == part for part in range(3)]).to(parts)[None]
            blended = F.conv2d(parts, gather, padding=1).view(-1, 2, *differences.shape[-3:])
            always, by_activity = blended.unbind(1)
        return BLEND_STEP * (always + active * by_activity)


class FoldedBlocks(nn.Module):
    """Residual blocks on folded planes, to a picture; zero at first."""

    def __init__(self, planes: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.body = ResidualBlocks(FOLD**2 * planes, channels, blocks)
        self.last = nn.Conv2d(channels, FOLD**2 * 3, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, *parts: Tensor) -> Tensor:
        """(N, 3, h, w) of parts (N, C, h, w) with `planes` channels together."""
        # Rounded at once as the convolution does later: half of the numbers' size to move about.
        device = parts[0].device.type
        rounded = torch.is_autocast_enabled(device)
        kind = torch.get_autocast_dtype(device) if rounded else parts[0].dtype
        height, width = parts[0].shape[-2:]
        # Channels last, as a convolution on a CPU wants them: one copy folds, joins and lays out.
        folded = torch.cat([fold(pad_to_multiple(part.to(kind), FOLD)) for part in parts], dim=3)
        features = self.body(folded.flatten(3).permute(0, 3, 1, 2))
        return F.pixel_shuffle(self.last(features), FOLD)[..., :height, :width]


def fold(planes: Tensor) -> Tensor:
    """A view of planes (N, C, h, w) as pixel-unshuffle puts them: (N, h/FOLD, w/FOLD, C, FOLD, FOLD)."""
    return planes.unflatten(3, (-1, FOLD)).unflatten(2, (-1, FOLD)).permute(0, 2, 4, 1, 3, 5)
