"""The recurrent core of BasicVSR++ (Chan et al., CVPR 2022): four branches carry features through time.

Two small rules say which frame is the second-order neighbour at each visit of a branch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.deform import SecondOrderDeformableAlignment
from models.flow import SpyNet, compose_flow, flow_warp, resize_flow
from models.layers import ResidualBlocks, pad_to_multiple

BRANCHES = ("backward_1", "forward_1", "backward_2", "forward_2")

# From the peaks (N, T) in the order of the visits: at which visits (N, T) the second-order neighbour
# becomes the frame visited two before, instead of staying what it was at the visit before.
NeighbourRule = Callable[[Tensor], Tensor]


def second_order(peaks: Tensor) -> Tensor:
    """The rule of BasicVSR++: always the frame visited two before."""
    return torch.ones_like(peaks)


def nearest_peak(peaks: Tensor) -> Tensor:
    """The latest peak visited two or more before; without any, as `second_order` (SPEC section 4)."""
    renew = torch.ones_like(peaks)
    visited = peaks[:, :-2]
    renew[:, 2:] = visited | (visited.cumsum(dim=1) == 0)
    return renew


def choose(renew: Tensor | bool, new: Tensor, old: Tensor) -> Tensor:
    """`new` (N, C, H, W) for the clips where renew (N,) says so, else `old`; one bool decides for all."""
    if isinstance(renew, bool):
        return new if renew else old
    return torch.where(renew.view(-1, 1, 1, 1), new, old)


def joined(levels: Sequence[Tensor | None]) -> Tensor | None:
    """The QPs of several frames, (N,) each, in a row; None where they are unknown."""
    known = [level for level in levels if level is not None]
    return torch.cat(known) if known else None


def warp_both(neighbours: Tensor, flow_1: Tensor, flow_2: Tensor) -> Tensor:
    """Neighbours (N, 2 * C, H, W), of first and of second order, moved by their flows."""
    flows = torch.stack([flow_1, flow_2], dim=1).flatten(0, 1)
    return flow_warp(neighbours.unflatten(1, (2, -1)).flatten(0, 1), flows).view_as(neighbours)


class Visit(NamedTuple):
    """What alignment needs to know at one visit; flows (N, 2, H, W) lead from the current frame.

    flow_1: to the frame visited before. flow_2: to the second-order neighbour, zero where there is none.
    renew: (N,) whether that neighbour is the frame visited two before, or one bool where all clips agree;
    None at the second visit, which has no second-order neighbour.
    """

    flow_1: Tensor
    flow_2: Tensor
    renew: Tensor | bool | None


def plan_visits(flows: Tensor, renew: Tensor) -> list[Visit]:
    """The visits after the first, from flows (N, T-1, 2, H, W) to the frame visited before and renew (N, T).

    Both in the order of the visits. The flow to the second-order neighbour is carried along the chain: each
    visit composes its own flow with one known at the visit before.
    """
    visits: list[Visit] = []
    decisions = [column.unique().tolist() for column in renew.cpu().unbind(1)]
    for index, flow_1 in enumerate(flows.unbind(1), start=1):
        if not visits:
            visits.append(Visit(flow_1, torch.zeros_like(flow_1), None))
            continue
        decision = decisions[index]
        decided = bool(decision[0]) if len(decision) == 1 else renew[:, index].to(flows.device)
        chain = choose(decided, visits[-1].flow_1, visits[-1].flow_2)
        visits.append(Visit(flow_1, compose_flow(flow_1, chain), decided))
    return visits


class RecurrentCore(nn.Module, ABC):
    """Four branches with flow-guided deformable alignment; subclasses give the layout around them.

    mid_channels: of the spatial features. prop_channels: of the propagated ones. num_blocks: residual
    blocks of a branch. scale: of the output. feature_stride, flow_stride: pixels per feature and per flow
    vector.
    """

    is_video = True

    def __init__(
        self,
        mid_channels: int,
        prop_channels: int,
        num_blocks: int,
        max_residue_magnitude: float,
        deform_groups: int,
        scale: int,
        feature_stride: int,
        flow_stride: int,
    ) -> None:
        super().__init__()
        self.mid_channels = mid_channels
        self.prop_channels = prop_channels
        self.scale = scale
        self.feature_stride = feature_stride
        self.flow_stride = flow_stride
        self.multiple = max(feature_stride, flow_stride)
        self.neighbour_rule: NeighbourRule = second_order
        self.spynet = SpyNet()
        self.deform_align = nn.ModuleDict()
        self.backbone = nn.ModuleDict()
        for index, branch in enumerate(BRANCHES):
            self.deform_align[branch] = SecondOrderDeformableAlignment(
                2 * prop_channels,
                prop_channels,
                mid_channels + 2 * prop_channels,
                deform_groups,
                max_residue_magnitude,
            )
            joined = mid_channels + (index + 1) * prop_channels
            self.backbone[branch] = ResidualBlocks(joined, prop_channels, num_blocks)

    @abstractmethod
    def extract(self, frames: Tensor, qp: Tensor | None) -> Tensor:
        """Spatial features (N, mid, h, w) of padded pictures (N, 3, H, W)."""

    @abstractmethod
    def reconstruct(self, features: Tensor, frames: Tensor, qp: Tensor | None) -> Tensor:
        """Pictures (N, 3, sH, sW) from all features (N, mid + 4 * prop, h, w) and the padded input."""

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
            for feature in self.extract(torch.cat(frames[run]), joined(levels[run])).split(count)
        ]
        branches = [branch[keep] for branch in (spatial, *self.propagate_all(spatial, clip, pqf))]
        del spatial
        frames, levels = frames[keep], levels[keep]
        pictures = []
        for run in self._runs(frames):
            features = torch.cat([torch.cat(branch[run]) for branch in branches], dim=1)
            pictures.append(self.reconstruct(features, torch.cat(frames[run]), joined(levels[run])))
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
        if self.flow_stride > 1:
            small = F.interpolate(padded.flatten(0, 1), scale_factor=1 / self.flow_stride, mode="bicubic")
            small = small.unflatten(0, clip.shape[:2])
        else:
            small = padded
        height, width = (length // self.feature_stride for length in padded.shape[-2:])
        directions = []
        for flow in self.spynet.clip_flows(small):
            resized = resize_flow(flow.flatten(0, 1), (height, width))[..., : size[0], : size[1]]
            directions.append(resized.unflatten(0, flow.shape[:2]))
        return directions[0], directions[1]

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
        assert isinstance(align, SecondOrderDeformableAlignment) and isinstance(backbone, ResidualBlocks)
        rests, add_to = align.rests(), backbone.without_rest()
        aligned = second = self.first_aligned(spatial[0])
        done: list[Tensor] = []
        for index, current in enumerate(spatial):
            if index > 0:
                flow_1, flow_2, renew = visits[index - 1]
                if renew is None:
                    second, flow_2 = self.missing_second(done[-1], flow_1)
                else:
                    second = choose(renew, done[index - 2], second)
                neighbours = torch.cat([done[-1], second], dim=1)
                moved = warp_both(neighbours, flow_1, flow_2)
                if rests:
                    aligned = align.at_rest(moved)
                else:
                    first, last = moved.chunk(2, dim=1)
                    around = torch.cat([first, current, last], dim=1)
                    aligned = align(neighbours, around, flow_1, flow_2)
            joined = torch.cat([current, *(features[index] for features in others), aligned], dim=1)
            done.append(aligned + add_to(joined))
        return done

    def first_aligned(self, current: Tensor) -> Tensor:
        """What stands in for aligned features (N, prop, h, w) at a branch's first visit: nothing."""
        return current.new_zeros(len(current), self.prop_channels, *current.shape[-2:])

    def missing_second(self, first: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """What stands in for the second-order neighbour (N, prop, h, w) and the flow to it at a branch's
        second visit, given the first-order one and its flow: nothing."""
        return torch.zeros_like(first), torch.zeros_like(flow)
