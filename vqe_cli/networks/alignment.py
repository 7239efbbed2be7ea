"""How features of two neighbours are aligned to the frame at hand: three ways, one interface.

deformable   BasicVSR++'s flow-guided deformable convolution (`deform`)
muna         multi-frame neighbourhood attention around the flows' ends, as in CRDS (`muna`)
warp         moved along the flows and mixed by a 1x1 convolution, as in BasicVSR
"""

import torch
from torch import Tensor, nn

from vqe_cli.networks.deform import SecondOrderDeformableAlignment
from vqe_cli.networks.flow import flow_warp
from vqe_cli.networks.muna import MuNA, Reference

ALIGNMENTS = ("deformable", "muna", "warp")


def new_alignment(
    kind: str, channels: int, spatial: int, deform_groups: int, max_residue_magnitude: float
) -> nn.Module:
    """An alignment of that kind for neighbours of `channels` to frames of `spatial` channels.

    All are called with the neighbours (N, 2 * channels, H, W), first-order then second-order one; the
    condition (N, 2 * channels + spatial, H, W): the first-order neighbour moved along its flow, the frame's
    own features, the second-order neighbour moved; and both flows (N, 2, H, W). They give (N, channels, H,
    W). Raises ValueError for another kind and for settings that contradict each other.
    """
    if kind == "deformable":
        width = spatial + 2 * channels
        return SecondOrderDeformableAlignment(
            2 * channels, channels, width, deform_groups, max_residue_magnitude
        )
    if kind == "muna":
        return NeighbourhoodAlignment(channels, spatial)
    if kind == "warp":
        return WarpedAlignment(channels)
    raise ValueError(f"alignment is {', '.join(ALIGNMENTS)}, not {kind!r}")


class WarpedAlignment(nn.Module):
    """Both neighbours moved along their flows, mixed by a 1x1 convolution that starts as their mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.mix = nn.Conv2d(2 * channels, channels, 1)
        assert self.mix.bias is not None
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(channels).repeat(1, 2)[..., None, None] / 2)
            self.mix.bias.zero_()

    def forward(self, neighbours: Tensor, cond: Tensor, flow_1: Tensor, flow_2: Tensor) -> Tensor:
        first, second = neighbours.chunk(2, dim=1)
        return self.mix(torch.cat([flow_warp(first, flow_1), flow_warp(second, flow_2)], dim=1))


class NeighbourhoodAlignment(nn.Module):
    """MuNA with two references: what the neighbours predict at each place of the frame, whose own features
    ask."""

    def __init__(self, channels: int, spatial: int, candidates: int = 9, heads: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.ask = nn.Conv2d(spatial, channels, 1)
        while channels % heads:
            heads //= 2
        self.muna = MuNA(channels, 2, candidates, heads)

    def forward(self, neighbours: Tensor, cond: Tensor, flow_1: Tensor, flow_2: Tensor) -> Tensor:
        own = cond[:, self.channels : -self.channels]
        first, second = neighbours.chunk(2, dim=1)
        return self.muna(self.ask(own), [Reference(first, flow_1), Reference(second, flow_2)])
