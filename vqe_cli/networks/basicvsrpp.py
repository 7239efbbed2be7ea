"""BasicVSR++ (Chan et al., CVPR 2022) and its variant whose second-order neighbour is a peak quality frame.

Spatial features of every frame pass four branches, which carry features through time, twice backward and
twice forward, each aligned to the frame at hand by a deformable convolution that flows guide. Residual blocks
and pixel shuffles make a picture of what all branches found.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.alignment import new_alignment
from vqe_cli.networks.flow import SpyNet, flow_warp
from vqe_cli.networks.layers import FeatureModulation, PixelShuffleUp, ResidualBlocks, pad_to_multiple
from vqe_cli.networks.propagation import Visit, choose, nearest_peak, plan_visits, second_order

BRANCHES = ("backward_1", "forward_1", "backward_2", "forward_2")
PICTURE_WIDTH = 64  # channels at full size, in the public networks whatever mid_channels is


class BasicVSRPlusPlus(nn.Module):
    """BasicVSR++, under the keys of the public weights.

    The first five settings are those of the reference; the others are off unless given. mid_channels: of the
    spatial features. num_blocks: residual blocks of a branch. is_low_res_input: True for x2 and x4 (`scale`,
    4 unless given), False for x1. reconstruction_blocks: residual blocks behind the propagation, a number
    (one group) or a list (groups in a row, each with its own input convolution). feature_stride: pixels per
    feature, 1, 2 or 4 (default 4 for x1, else 1). flow_stride: pixels per flow vector (default 4 for x1,
    else 1). prop_channels: of the propagated features (default mid_channels). qp_conditioning: whether the
    QP modulates the spatial features. alignment: "deformable", "muna" or "warp" (`alignment`). Raises
    ValueError for settings that contradict each other.
    """

    is_video = True
    neighbour_rule = staticmethod(second_order)

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 7,
        max_residue_magnitude: float = 10,
        is_low_res_input: bool = True,
        reconstruction_blocks: int | Sequence[int] = 5,
        scale: int | None = None,
        feature_stride: int | None = None,
        flow_stride: int | None = None,
        prop_channels: int | None = None,
        deform_groups: int = 16,
        qp_conditioning: bool = False,
        alignment: str = "deformable",
    ) -> None:
        super().__init__()
        self.scale = scale or (4 if is_low_res_input else 1)
        self.feature_stride = feature_stride or (1 if is_low_res_input else 4)
        self.flow_stride = flow_stride or (1 if is_low_res_input else 4)
        self.multiple = max(self.feature_stride, self.flow_stride)
        if self.scale not in ((2, 4) if is_low_res_input else (1,)):
            raise ValueError(f"scale {self.scale} does not go with is_low_res_input={is_low_res_input}")
        if self.feature_stride not in ((1,) if is_low_res_input else (1, 2, 4)):
            raise ValueError(f"feature_stride {feature_stride} does not go with scale {self.scale}")
        mid, self.prop_channels = mid_channels, prop_channels or mid_channels
        self.modulation = FeatureModulation(mid) if qp_conditioning else None
        self.feat_extract = feature_extractor(mid, self.scale, self.feature_stride)
        self.spynet = SpyNet()
        self.deform_align = nn.ModuleDict()
        self.backbone = nn.ModuleDict()
        joined = mid
        for branch in BRANCHES:
            joined += self.prop_channels
            self.deform_align[branch] = new_alignment(
                alignment, self.prop_channels, mid, deform_groups, max_residue_magnitude
            )
            self.backbone[branch] = ResidualBlocks(joined, self.prop_channels, num_blocks)
        self.reconstruction = reconstruction(joined, mid, reconstruction_blocks)
        enlargement = self.feature_stride * self.scale
        self.upsample1 = PixelShuffleUp(mid, mid) if enlargement == 4 else None
        self.upsample2 = PixelShuffleUp(mid, PICTURE_WIDTH) if enlargement >= 2 else None
        self.conv_hr = nn.Conv2d(PICTURE_WIDTH if enlargement >= 2 else mid, PICTURE_WIDTH, 3, padding=1)
        self.conv_last = nn.Conv2d(PICTURE_WIDTH, 3, 3, padding=1)

    def forward(
        self,
        clip: Tensor,
        pqf: Tensor | None = None,
        qp: Tensor | None = None,
        keep: slice = slice(None),
    ) -> Tensor:
        """Enhance a clip (N, T, 3, H, W), RGB in [0, 1], to (N, K, 3, scale*H, scale*W), its frames `keep`.

        pqf (N, T) marks the peak quality frames, None is none. qp (N, T) with NaN where unknown, None is
        unknown.
        """
        count, _, _, height, width = clip.shape
        # Time goes first, so that a frame's features of all clips lie together.
        frames = pad_to_multiple(clip.transpose(0, 1).flatten(0, 1), self.feature_stride).split(count)
        levels: Sequence[Tensor | None] = [None] * len(frames) if qp is None else qp.unbind(1)
        spatial = [
            feature
            for run in self._runs(frames)
            for feature in self.extract(torch.cat(frames[run]), joined_levels(levels[run])).split(count)
        ]
        branches = [branch[keep] for branch in (spatial, *self.propagate_all(spatial, clip, pqf))]
        del spatial
        frames, levels = frames[keep], levels[keep]
        pictures = []
        for run in self._runs(frames):
            features = torch.cat([torch.cat(branch[run]) for branch in branches], dim=1)
            pictures.append(self.reconstruct(features, torch.cat(frames[run])))
        out = torch.cat(pictures).unflatten(0, (len(frames), count)).transpose(0, 1)
        return out[..., : height * self.scale, : width * self.scale]

    @staticmethod
    def _runs(frames: Sequence[Tensor]) -> list[slice]:
        """Which frames go through at once: with gradients all; without, one, for the memory of long clips."""
        step = len(frames) if torch.is_grad_enabled() else 1
        return [slice(begin, begin + step) for begin in range(0, len(frames), step)]

    def flows(self, clip: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Flows of the clip (N, T, 3, H, W) on the grid of the features, to previous and to next frames.

        Each (N, T-1, 2, h, w) with (h, w) = size, in pixels of that grid.
        """
        padded = pad_to_multiple(clip, self.multiple)
        height, width = (length // self.feature_stride for length in padded.shape[-2:])
        flows = self.spynet.flows_on_grid(padded, self.flow_stride, (height, width))
        forward, backward = (flow[..., : size[0], : size[1]] for flow in flows)
        return forward, backward

    def propagate_all(
        self, spatial: Sequence[Tensor], clip: Tensor, pqf: Tensor | None
    ) -> list[list[Tensor]]:
        """The features of the four branches, each a list of T tensors (N, prop, h, w) in frame order."""
        peaks = torch.zeros(clip.shape[:2], dtype=torch.bool) if pqf is None else pqf.to("cpu", torch.bool)
        height, width = spatial[0].shape[-2:]
        flows_forward, flows_backward = self.flows(clip, (height, width))
        forward = plan_visits(flows_forward, self.neighbour_rule(peaks))
        backward = plan_visits(flows_backward.flip(1), self.neighbour_rule(peaks.flip(1)))
        done: list[list[Tensor]] = []
        for branch in BRANCHES:
            if branch.startswith("forward"):
                done.append(self.propagate(branch, spatial, done, forward))
            else:
                turned = [features[::-1] for features in done]
                done.append(self.propagate(branch, spatial[::-1], turned, backward)[::-1])
        return done

    def propagate(
        self, branch: str, spatial: Sequence[Tensor], others: list[list[Tensor]], visits: list[Visit]
    ) -> list[Tensor]:
        """One branch's features, given the spatial and the earlier branches'; all in the order of visits."""
        align, backbone = self.deform_align[branch], self.backbone[branch]
        aligned = second = spatial[0].new_zeros(len(spatial[0]), self.prop_channels, *spatial[0].shape[-2:])
        done: list[Tensor] = []
        for index, current in enumerate(spatial):
            if index > 0:
                flow_1, flow_2, renew = visits[index - 1]
                if renew is not None:
                    second = choose(renew, done[index - 2], second)
                neighbours = torch.cat([done[-1], second], dim=1)
                first_moved, second_moved = warp_both(neighbours, flow_1, flow_2).chunk(2, dim=1)
                around = torch.cat([first_moved, current, second_moved], dim=1)
                aligned = align(neighbours, around, flow_1, flow_2)
            joined = torch.cat([current, *(features[index] for features in others), aligned], dim=1)
            done.append(aligned + backbone(joined))
        return done

    def extract(self, frames: Tensor, qp: Tensor | None) -> Tensor:
        """Spatial features (N, mid, h, w) of padded pictures (N, 3, H, W) with QPs (N,)."""
        features = self.feat_extract(frames)
        return features if self.modulation is None else self.modulation(features, qp)

    def reconstruct(self, features: Tensor, frames: Tensor) -> Tensor:
        """Pictures (N, 3, sH, sW) from all features (N, mid + 4 * prop, h, w) and the padded input."""
        x = self.reconstruction(features)
        for upsample in (self.upsample1, self.upsample2):
            if upsample is not None:
                x = F.leaky_relu(upsample(x), 0.1, inplace=True)
        x = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.1, inplace=True))
        if self.scale > 1:
            frames = F.interpolate(frames, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return frames + x


class PQFBasicVSRPlusPlus(BasicVSRPlusPlus):
    """BasicVSR++ whose second-order neighbour is the nearest peak quality frame (SPEC section 4)."""

    neighbour_rule = staticmethod(nearest_peak)


def feature_extractor(mid: int, scale: int, stride: int) -> nn.Module:
    """Pictures (N, 3, H, W) to features (N, mid, H / stride, W / stride)."""
    if scale > 1:
        return ResidualBlocks(3, mid, 5)
    return nn.Sequential(
        nn.Conv2d(3, mid, 3, stride=2 if stride > 1 else 1, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Conv2d(mid, mid, 3, stride=2 if stride > 2 else 1, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
        ResidualBlocks(mid, mid, 5),
    )


def reconstruction(joined: int, mid: int, blocks: int | Sequence[int]) -> nn.Module:
    """Features (N, joined, h, w) to (N, mid, h, w) by one group of residual blocks, or several in a row."""
    if isinstance(blocks, int):
        return ResidualBlocks(joined, mid, blocks)
    return nn.Sequential(
        *(ResidualBlocks(mid if group else joined, mid, count) for group, count in enumerate(blocks))
    )


def joined_levels(levels: Sequence[Tensor | None]) -> Tensor | None:
    """The QPs of several frames, (N,) each, in a row; None where they are unknown."""
    known = [level for level in levels if level is not None]
    return torch.cat(known) if known else None


def warp_both(neighbours: Tensor, flow_1: Tensor, flow_2: Tensor) -> Tensor:
    """Neighbours (N, 2 * C, H, W), of first and of second order, moved by their flows."""
    flows = torch.stack([flow_1, flow_2], dim=1).flatten(0, 1)
    return flow_warp(neighbours.unflatten(1, (2, -1)).flatten(0, 1), flows).view_as(neighbours)
