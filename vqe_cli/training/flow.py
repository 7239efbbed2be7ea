"""What the flow network learns before stage I: motion between compressed frames at a quarter of their size.

From scratch SpyNet does not learn from real pairs, most of which hardly move; synthetic smooth motions of
single frames come first, then real pairs by the photometric error of the clean frames.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.flow import ConvUnit, FlowLevel, SpyNet, flow_warp, resize_flow
from vqe_cli.networks.layers import charbonnier
from vqe_cli.training.data import Batch, Pair, clip_rgb
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.validation import Sheet

LEVEL_WEIGHT = 0.5  # of each coarser pyramid level, relative to the next finer one


class FlowTask:
    """Synthetic motions for the first share of the run, then real neighbours; measured as the PSNR of the
    warped one."""

    figure = "warped_psnr_db"

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """End-point error on synthetic motions, or photometric error on real pairs."""
        assert isinstance(network, SpyNet)
        if share < self.config.flow.synthetic_share:
            return self.synthetic_loss(network, batch)
        return self.photometric_loss(network, batch)

    def synthetic_loss(self, spynet: SpyNet, batch: Batch) -> Tensor:
        """End-point error relative to the mean motion, over all levels.

        The reference is the clip's first compressed frame moved by a random smooth flow, the other frame is
        the clean or the compressed one as it was, so that the two differ in their noise.
        """
        compressed, clean = batch.lq[:, 0], batch.gt[:, 0]
        low, high = self.config.flow.motion_px
        draws = generators(batch)
        size = (compressed.shape[-2], compressed.shape[-1])
        motion = torch.stack([smooth_motion(draw, size, 4 * low, 4 * high) for draw in draws]).to(self.device)
        coins = torch.stack([torch.rand(1, 1, 1, generator=draw) for draw in draws]).to(self.device)
        ref = quarter(flow_warp(compressed, motion, padding_mode="border"))
        supp = quarter(torch.where(coins < 0.5, clean, compressed))
        target = resize_flow(motion, (ref.shape[-2], ref.shape[-1]))
        scale = target.norm(dim=1).mean(dim=(1, 2)).clamp(min=0.1)[:, None, None]
        total, weight = target.new_zeros(()), 1.0
        for flow in reversed(spynet.level_flows(spynet.resize_up(ref), spynet.resize_up(supp))):
            error = flow - resize_flow(target, (flow.shape[-2], flow.shape[-1]))
            unit = flow.shape[-1] / target.shape[-1]
            total = total + weight * (error.square().sum(1).add(1e-6).sqrt() / (scale * unit)).mean()
            weight *= LEVEL_WEIGHT
        return total

    def photometric_loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Charbonnier of the clean neighbour warped onto the clean frame at half size, plus the flow's
        unevenness.

        The neighbour is any other frame of the clip; pixels that the flow fetches from outside do not count.
        """
        count, frames = batch.lq.shape[:2]
        neighbour = torch.cat([torch.randint(1, frames, (1,), generator=draw) for draw in generators(batch)])
        neighbour = neighbour.to(self.device)
        clip = torch.arange(count, device=self.device)
        flow = network(quarter(batch.lq[:, 0]), quarter(batch.lq[clip, neighbour]))
        ref, supp = (F.avg_pool2d(x, 2) for x in (batch.gt[:, 0], batch.gt[clip, neighbour]))
        fine = resize_flow(flow, (ref.shape[-2], ref.shape[-1]))
        inside = flow_warp(torch.ones_like(ref[:, :1]), fine).detach() > 0.99
        warped = flow_warp(supp, fine, padding_mode="border")
        error = charbonnier(warped * inside, ref * inside, eps=1e-6)
        dx, dy = flow.diff(dim=-1).abs().mean(), flow.diff(dim=-2).abs().mean()
        return 10 * (error + self.config.flow.smoothness * 0.01 * (dx + dy))

    @torch.inference_mode()
    def measure(self, network: nn.Module, pair: Pair) -> float:
        """PSNR (dB) of the clean frame before, warped by the flow of the compressed pair, at quarter size."""
        lq = quarter(clip_rgb(pair.lq, slice(0, 25), self.device))
        gt = F.avg_pool2d(clip_rgb(pair.gt, slice(0, 25), self.device), 4)
        flow = network(lq[1:], lq[:-1]).float()
        warped = flow_warp(gt[:-1], resize_flow(flow, (gt.shape[-2], gt.shape[-1])), padding_mode="border")
        errors = (warped - gt[1:]).square().mean(dim=(1, 2, 3))
        return float((-10 * torch.log10(errors.clamp(min=1e-10))).mean())

    def sheet(self, network: nn.Module, pair: Pair) -> Sheet | None:
        """None: a flow is no picture."""
        return None


def generators(batch: Batch) -> list[torch.Generator]:
    """A source of chance for each clip of a batch, from its seed."""
    return [torch.Generator().manual_seed(seed) for seed in batch.seeds]


@torch.no_grad()
def motion_filters(network: SpyNet) -> None:
    """Start every pyramid level with first-layer filters that respond to motion, in place.

    Pairs of rectified sums and differences of the temporal and a spatial derivative carry the sign and size
    of the motion (the optical flow constraint of Lucas and Kanade, IJCAI 1981), at two widths and in two
    directions: sixteen of the 32 filters. From purely random filters the network rests for thousands of steps
    where all flows are zero.
    """
    for level in network.basic_module:
        assert isinstance(level, FlowLevel)
        first = level.basic_module[0]
        assert isinstance(first, ConvUnit)
        weight = first.conv.weight
        weight.mul_(0.3)
        unit = 0
        for sigma, gain in ((0.8, 2.0), (1.6, 3.0)):
            offsets = torch.arange(-3.0, 4.0)
            smooth = torch.exp(-offsets.square() / (2 * sigma**2))
            smooth /= smooth.sum()
            slope = offsets / sigma**2 * smooth
            temporal = torch.outer(smooth, smooth)
            for spatial in (torch.outer(smooth, slope), torch.outer(slope, smooth)):
                for sign_t in (1, -1):
                    for sign_s in (1, -1):
                        weight[unit] = 0
                        weight[unit, 0:3] = gain * (sign_t * temporal + sign_s * spatial / 2) / 3
                        weight[unit, 3:6] = gain * (-sign_t * temporal + sign_s * spatial / 2) / 3
                        unit += 1


def quarter(x: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) at a quarter of their size, as stage I feeds its flow network (bicubic)."""
    return F.interpolate(x, scale_factor=0.25, mode="bicubic", align_corners=False)


def smooth_motion(draw: torch.Generator, size: tuple[int, int], low: float, high: float) -> Tensor:
    """A random smooth flow (2, H, W) in pixels: a shift, an affine part and low-frequency waves.

    Its amplitude is drawn log-uniformly between `low` and `high` pixels.
    """
    amplitude = torch.exp(torch.empty(1, 1, 1, 1).uniform_(math.log(low), math.log(high), generator=draw))
    shift = torch.randn(1, 2, 1, 1, generator=draw)
    corners = torch.randn(1, 2, 2, 2, generator=draw)
    waves = torch.randn(1, 2, 5, 5, generator=draw)
    affine = F.interpolate(corners, size=size, mode="bilinear", align_corners=True)
    smooth = F.interpolate(waves, size=size, mode="bicubic", align_corners=True)
    shares = torch.rand(3, generator=draw)
    mixed = shares[0] * shift + shares[1] * affine + shares[2] * 0.7 * smooth
    return (amplitude * mixed)[0]
