"""What the flow network learns before stage I: motion between compressed frames at a quarter of their size.

From scratch SpyNet does not learn from real pairs, most of which hardly move; synthetic smooth motions of single
frames come first, then real pairs by the photometric error of the clean frames.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.flow import flow_warp, resize_flow
from models.layers import charbonnier
from vqe_cli.training.config import TrainConfig
from vqe_cli.training.data import Batch, Pair, clip_rgb

LEVEL_WEIGHT = 0.5  # of each coarser pyramid level, relative to the next finer one


class FlowTask:
    """Synthetic motions for the first share of the run, then real neighbours; measured as the PSNR of the warped one."""

    def __init__(self, config: TrainConfig, val: list[Pair], device: torch.device) -> None:
        self.config = config
        self.val = val
        self.device = device

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """End-point error on synthetic motions, or photometric error on real pairs."""
        if share < self.config.flow.synthetic_share:
            return self.synthetic_loss(network, batch)
        return self.photometric_loss(network, batch)

    def synthetic_loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """End-point error relative to the mean motion, over all levels.

        The reference is the batch's first compressed frame moved by a random smooth flow, the other frame is the
        clean or the compressed one as it was, so that the two differ in their noise.
        """
        compressed, clean = batch.lq[:, 0], batch.gt[:, 0]
        low, high = self.config.flow.motion_px
        motion = smooth_motion(len(compressed), compressed.shape[-2:], 4 * low, 4 * high, compressed.device)
        ref = quarter(flow_warp(compressed, motion, padding_mode="border"))
        supp = quarter(clean if torch.rand(()) < 0.5 else compressed)
        target = resize_flow(motion, ref.shape[-2:])
        scale = target.norm(dim=1).mean(dim=(1, 2)).clamp(min=0.1)[:, None, None]
        total, weight = target.new_zeros(()), 1.0
        for flow in reversed(network.level_flows(network.resize_up(ref), network.resize_up(supp))):
            wanted = resize_flow(target, flow.shape[-2:])
            unit = flow.shape[-1] / target.shape[-1]
            total = total + weight * ((flow - wanted).square().sum(1).add(1e-6).sqrt() / (scale * unit)).mean()
            weight *= LEVEL_WEIGHT
        return total

    def photometric_loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Charbonnier of the clean neighbour warped onto the clean frame at half size, plus the flow's unevenness.

        The neighbour is any other frame of the clip; pixels that the flow fetches from outside do not count.
        """
        frames = batch.lq.shape[1]
        distance = int(torch.randint(1, frames, ()))
        first, second = batch.lq[:, 0], batch.lq[:, distance]
        flow = network(quarter(first), quarter(second))
        ref, supp = (F.avg_pool2d(batch.gt[:, i], 2) for i in (0, distance))
        fine = resize_flow(flow, ref.shape[-2:])
        inside = flow_warp(torch.ones_like(ref[:, :1]), fine).detach() > 0.99
        warped = flow_warp(supp, fine, padding_mode="border")
        error = charbonnier(warped * inside, ref * inside, eps=1e-6)
        dx, dy = flow.diff(dim=-1).abs().mean(), flow.diff(dim=-2).abs().mean()
        return 10 * (error + self.config.flow.smoothness * 0.01 * (dx + dy))

    @torch.inference_mode()
    def measure(self, network: nn.Module) -> dict[tuple[str, str], float]:
        """PSNR in dB of the clean previous frame, warped by the flow of the compressed pair, at quarter size."""
        result = {}
        for pair in self.val:
            lq = quarter(clip_rgb(pair.lq, slice(0, 25), self.device))
            gt = F.avg_pool2d(clip_rgb(pair.gt, slice(0, 25), self.device), 4)
            flow = network(lq[1:], lq[:-1]).float()
            warped = flow_warp(gt[:-1], resize_flow(flow, gt.shape[-2:]), padding_mode="border")
            errors = (warped - gt[1:]).square().mean(dim=(1, 2, 3))
            result[pair.recipe, pair.lq.name] = float((-10 * torch.log10(errors.clamp(min=1e-10))).mean())
        return result


@torch.no_grad()
def motion_filters(network: nn.Module) -> None:
    """Start every pyramid level with first-layer filters that respond to motion, in place.

    Pairs of rectified sums and differences of the temporal and a spatial derivative carry the sign and size of the
    motion (the optical flow constraint of Lucas and Kanade, IJCAI 1981), at two widths and in two directions: sixteen
    of the 32 filters. From purely random filters the network rests for thousands of steps where all flows are zero.
    """
    for level in network.basic_module:
        weight = level.basic_module[0].conv.weight
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


def smooth_motion(count: int, size: torch.Size, low: float, high: float, device: torch.device) -> Tensor:
    """Random smooth flows (count, 2, H, W) in pixels: a shift, an affine part and low-frequency waves.

    The amplitude of each flow is drawn log-uniformly between `low` and `high` pixels.
    """
    height, width = size
    amplitude = torch.exp(torch.empty(count, 1, 1, 1, device=device).uniform_(math.log(low), math.log(high)))
    shift = torch.randn(count, 2, 1, 1, device=device)
    corners = torch.randn(count, 2, 2, 2, device=device)
    waves = torch.randn(count, 2, 5, 5, device=device)
    affine = F.interpolate(corners, size=(height, width), mode="bilinear", align_corners=True)
    smooth = F.interpolate(waves, size=(height, width), mode="bicubic", align_corners=True)
    shares = torch.rand(count, 3, 1, 1, 1, device=device)
    mixed = shares[:, 0] * shift + shares[:, 1] * affine + shares[:, 2] * 0.7 * smooth
    return amplitude * mixed
