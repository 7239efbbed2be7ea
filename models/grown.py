"""BasicVSR++ grown from a trained single-frame network: its branches carry enhanced pictures along the motion
at first."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow import resize_flow
from models.layers import ResidualBlocks, box_mean, pad_to_multiple
from models.propagation import BRANCHES, RecurrentCore, Visit
from models.qecnn import QECNN
from models.refine import refine_flow

SPATIAL_CHANNELS = 5  # an enhanced picture, its QP, and whether that is known
GRADED = slice(0, 4)  # a picture and its QP, which are carried together
# QPs as the branches carry them, positive, and as they count: no more than about 1 from 0.
GREATEST_QP = 51
MIDDLE_QP = 32  # also what stands in for an unknown one
QP_UNIT = 10
# What a branch carries before it is trained: a running mean of graded pictures along the motion, the frame's
# own for later visits, and the neighbour's.
MEAN, OWN, NEIGHBOUR = slice(0, 4), slice(4, 8), slice(8, 12)
LEAST_CHANNELS = 12
# A running mean of pictures along the motion takes this share from the frames visited before.
MEMORY = 0.5
CARRIED = 2 * len(BRANCHES)  # pictures: means, then neighbours', opposite directions side by side
# Enhanced neighbours differ by about 0.03 (of 1). A difference counts less the larger it is around its place
# (in a window of so many pixels), because then the motion is wrong, and the less the picture agrees with the
# one from the opposite direction. How fast, the blend learns from several measures of it.
PLAUSIBLE = (0.008, 0.02, 0.05)
AGREEING = (0.008, 0.025)
WINDOW = 5
FORMS = len(PLAUSIBLE) + len(AGREEING)
DIFFERENCES = FORMS * CARRIED
RING = ((2, 1, 2), (1, 0, 1), (2, 1, 2))  # the blend's weights for the pixel itself, beside it and across
# Standard deviation of luma in a window of so many pixels, in the middle between flat and textured.
ACTIVE = 9
MIDDLE_ACTIVITY = 0.03
# The residual blocks want numbers of about 0.3 and give such, of which small steps are enough: else the
# optimizer disturbs more than there is to gain. The blend, whose input is small, needs weights of about
# 0.5: large steps.
DIFFERENCE_GAIN = 10.0
CORRECTION_STEP = 0.1
BLEND_STEP = 10.0
RECONSTRUCTION_CHANNELS = 64
FOLD = 2  # the residual blocks see pictures folded to half their size


class GrownLayout(RecurrentCore):
    """The branches behind a trained single-frame network, which alone it equals until it is trained further.

    Untrained, each branch carries enhanced pictures: the first two those of the frames visited before, the
    last two those of the second-order neighbours, the peaks. How they differ from the frame at hand is what
    the correction is made of: by one convolution that starts at zero and, with `reconstruction_blocks`, by
    residual blocks, whose end does. Motion is the flow network's, refined on the pictures
    (`refine.refine_flow`). Everything works at the output's size.

    trunk: the single-frame network. reconstruction_blocks, reconstruction_channels: number and width of the
    residual blocks.
    """

    exact = ("deform_align", "backbone")  # computed in float32 whatever the rest is

    def __init__(
        self,
        trunk: QECNN,
        reconstruction_blocks: int,
        reconstruction_channels: int,
        **core: Any,
    ) -> None:
        super().__init__(**core)
        self.trunk = trunk
        self.spynet.requires_grad_(False)  # no gradient passes the refinement of its flows
        self.blend = Blend()
        self.reconstruction = None
        if reconstruction_blocks:
            free = len(BRANCHES) * (self.prop_channels - LEAST_CHANNELS)
            folded = FOLD**2 * (3 + self.mid_channels + CARRIED + 3 * DIFFERENCES + free)
            self.reconstruction = ResidualBlocks(folded, reconstruction_channels, reconstruction_blocks)
            self.conv_last = nn.Conv2d(reconstruction_channels, FOLD**2 * 3, 3, padding=1)
            for parameter in self.conv_last.parameters():
                nn.init.zeros_(parameter)
        for index, branch in enumerate(BRANCHES):
            start_with_pictures(self.deform_align[branch], self.backbone[branch], order=index // 2)

    def extract(self, frames: Tensor, qp: Tensor | None) -> Tensor:
        """The enhanced picture, then the QP, then whether it is known."""
        picture = self.trunk(frames, qp)
        qp = frames.new_full(frames.shape[:1], float("nan")) if qp is None else qp.to(frames)
        grade = torch.stack([qp.nan_to_num(MIDDLE_QP) / GREATEST_QP, (~qp.isnan()).to(qp)], dim=1)
        return torch.cat([picture, grade[..., None, None].expand(-1, -1, *picture.shape[-2:])], dim=1)

    def flows(self, clip: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Flows of the clip (N, T, 3, H, W) on a grid of `size`, as `RecurrentCore.flows`, refined."""
        if clip.shape[1] == 1:
            nothing = clip.new_zeros(len(clip), 0, 2, *size)
            return nothing, nothing
        guesses = super().flows(clip, (clip.shape[-2], clip.shape[-1]))
        earlier, later = clip[:, :-1].flatten(0, 1), clip[:, 1:].flatten(0, 1)
        forward, backward = (
            resize_flow(refine_flow(guess.flatten(0, 1), *pair), size).unflatten(0, guess.shape[:2])
            for guess, pair in zip(guesses, ((later, earlier), (earlier, later)), strict=True)
        )
        return forward, backward

    def propagate(
        self, branch: str, spatial: Sequence[Tensor], others: list[list[Tensor]], visits: list[Visit]
    ) -> list[Tensor]:
        """As `RecurrentCore.propagate`, in float32: bfloat16 rounds pictures by as much as they differ."""
        with torch.autocast(spatial[0].device.type, enabled=False):
            return super().propagate(branch, spatial, others, visits)

    def first_aligned(self, current: Tensor) -> Tensor:
        """The first frame stands in for those before it."""
        aligned = current.new_zeros(len(current), self.prop_channels, *current.shape[-2:])
        aligned[:, MEAN] = MEMORY * current[:, GRADED]
        aligned[:, NEIGHBOUR] = current[:, GRADED]
        return aligned

    def missing_second(self, first: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """The frame visited before stands in for the one before that."""
        return first, flow

    def reconstruct(self, features: Tensor, frames: Tensor, qp: Tensor | None) -> Tensor:
        current, found = features.split([self.mid_channels, len(BRANCHES) * self.prop_channels], dim=1)
        picture, grade, known = current.split([3, 1, 1], dim=1)
        found = found.unflatten(1, (len(BRANCHES), self.prop_channels))
        carried, grades = torch.cat([found[:, :, MEAN], found[:, :, NEIGHBOUR]], dim=1).split([3, 1], dim=2)
        level = (GREATEST_QP * grade - MIDDLE_QP) / QP_UNIT
        worse = GREATEST_QP * (grades[:, :, 0] - grade) / QP_UNIT
        differences = trusted(carried, picture)
        correction = self.blend(differences, level.mean((1, 2, 3)), worse.mean((2, 3)), activity(picture))
        if self.reconstruction is not None:
            free = found[:, :, LEAST_CHANNELS:].flatten(1, 2)
            if self.scale > 1:
                frames = F.interpolate(frames, scale_factor=self.scale, mode="bicubic", align_corners=False)
            small = (frames - picture, differences.flatten(1, 2))
            parts = (picture, level, known, worse, *(DIFFERENCE_GAIN * part for part in small), free)
            # Rounded at once as the convolution does later: half of the numbers' size to move about.
            kind = convolution_dtype(picture)
            seen = torch.cat([part.to(kind) for part in parts], dim=1)
            folded = F.pixel_unshuffle(pad_to_multiple(seen, FOLD), FOLD)
            rebuilt = F.pixel_shuffle(self.conv_last(self.reconstruction(folded)), FOLD)
            rebuilt = rebuilt[..., : picture.shape[-2], : picture.shape[-1]]
            correction = correction + CORRECTION_STEP * rebuilt
        return picture + correction.to(picture.dtype)


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
        """(N, 3, H, W) of the differences (N, DIFFERENCES, 3, H, W) that `trusted` gives, the pictures' QPs
        (N,), how much worse those of the carried are (N, CARRIED), both about 1 for ten steps, and `activity`
        (N, 1, H, W)."""
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


def convolution_dtype(like: Tensor) -> torch.dtype:
    """What autocast rounds the input of a convolution to, where it is on; else the type of `like`."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def activity(picture: Tensor) -> Tensor:
    """How much there is to see around each place of a picture (N, 3, H, W): (N, 1, H, W), from -1 where it
    is flat to 1 in strong texture."""
    luma = picture.float().mean(dim=1, keepdim=True)
    mean, square = (
        F.avg_pool2d(F.pad(x, [ACTIVE // 2] * 4, "replicate"), ACTIVE, 1) for x in (luma, luma**2)
    )
    deviation = (square - mean**2).clamp(min=1e-8).sqrt()
    return (deviation / MIDDLE_ACTIVITY).log2().div(3).clamp(-1, 1)


def trusted(carried: Tensor, picture: Tensor) -> Tensor:
    """How carried pictures (N, CARRIED, 3, H, W) differ from the one at hand (N, 3, H, W), damped in several
    ways where they are not to be trusted: (N, DIFFERENCES, 3, H, W)."""
    differences = carried - picture[:, None]
    opposite = carried.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
    error, disagreement = around(differences), around(carried - opposite)
    damped = [differences / (1 + error / limit**2) for limit in PLAUSIBLE]
    damped += [differences / (1 + disagreement / limit**2) for limit in AGREEING]
    return torch.cat(damped, dim=1)


def around(differences: Tensor) -> Tensor:
    """Mean square of differences (N, D, 3, H, W) in a window around each place: (N, D, 1, H, W)."""
    square = differences.square().mean(dim=2)
    return box_mean(square, WINDOW)[:, :, None]


@torch.no_grad()
def start_with_pictures(align: nn.Module, backbone: nn.Module, order: int) -> None:
    """Let a branch start with pictures of its neighbours of first order (0) or second order (1).

    The alignment moves the neighbour's, the residual blocks add the frame's own; both pass positive numbers
    unchanged. The other channels start at random, but weakly.
    """
    weight = align.get_parameter("weight").mul_(0.1)
    carried = slice(0, LEAST_CHANNELS)
    weight[carried] = 0
    first, blocks = backbone.get_submodule("main.0"), backbone.get_submodule("main.2")
    enter = first.get_parameter("weight")
    enter[carried] = 0
    first.get_parameter("bias")[carried] = 0
    neighbour = order * (weight.shape[1] // 2)
    for channel in range(GRADED.stop):
        mean, own, other = (part.start + channel for part in (MEAN, OWN, NEIGHBOUR))
        weight[mean, neighbour + mean, 1, 1] = 2 * MEMORY  # the masks start at one half
        weight[other, neighbour + own, 1, 1] = 2
        enter[mean, channel, 1, 1] = 1 - MEMORY
        enter[own, channel, 1, 1] = 1
    for block in blocks.children():
        nn.init.zeros_(block.get_parameter("conv2.weight"))


def grow_from_spatial(net: GrownLayout, state: dict[str, Tensor]) -> None:
    """Copy a trained QECNN's weights into the spatial path, so that `net` computes what it computes.

    Raises RuntimeError when keys or shapes differ.
    """
    net.trunk.load_state_dict(state, strict=True)
