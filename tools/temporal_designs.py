"""The designs that tools/temporal_ablation.py judges, all behind the same single-frame network.

Each takes clips (N, T, 6, H, W): the compressed pictures and what the single-frame network made of them, RGB
in [0, 1] both, and corrects the latter; untrained it changes nothing. Where a design of NTIRE 2021 stands
here in small, only its idea is taken: a few reference pictures, chosen by rule, and a U-Net that fuses them.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli import networks
from vqe_cli.networks.basicvsrpp import BasicVSRPlusPlus
from vqe_cli.networks.flow import flow_warp
from vqe_cli.networks.layers import ResidualBlocks, box_mean, pad_to_multiple
from vqe_cli.networks.motion_fusion import Motion, MotionFusion
from vqe_cli.networks.qecnn import QECNN
from vqe_cli.networks.refine import least_squares_flow

SPATIAL = {"channels": 8, "blocks": 1, "unshuffle": 2}  # never runs: its pictures are given
BLOCK = 8  # pixels of the side of a matched block
RANGE = 4  # pixels that a block is looked for, each way

# Frames of reference of a frame, by the clip's pictures (T, 3, H, W), its peaks (T,) and the frame's index.
Choice = Callable[[Tensor, Tensor, int], list[int]]


class Behind(nn.Module):
    """A video or image network that is given the single-frame network's pictures."""

    is_video = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, clip: Tensor, pqf: Tensor | None = None, qp: Tensor | None = None, keep: slice = slice(None)
    ) -> Tensor:
        pictures = clip[:, :, 3:]
        if self.network.is_video:
            return self.network(pictures, pqf, qp, keep)
        qps = None if qp is None else qp[:, keep].flatten()
        return self.network(pictures[:, keep].flatten(0, 1), qps).unflatten(0, (len(clip), -1))


class GivenPictures(MotionFusion):
    """MotionFusion whose single-frame pictures come with the clip."""

    def enhance(self, frame: Tensor, qp: Tensor) -> Tensor:
        grade = super().enhance(frame[:, 3:, :2, :2], qp)[:, 3:, :1, :1]
        return torch.cat([frame[:, 3:], grade.expand(-1, -1, *frame.shape[-2:])], dim=1)

    def motion(self, clip: Tensor) -> Motion:
        return super().motion(clip[:, :, :3])

    def fuse(self, frame: Tensor, *carried: Tensor) -> Tensor:
        return super().fuse(frame[:, :3], *carried)


class UNet(nn.Module):
    """Pictures (N, planes, H, W) to a correction (N, 3, H, W), zero at first: two halvings, skips added."""

    def __init__(self, planes: int, channels: int) -> None:
        super().__init__()
        self.enter = ResidualBlocks(4 * planes, channels, 1)
        self.down = ResidualBlocks(4 * channels, 2 * channels, 2)
        self.up = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)
        self.leave = ResidualBlocks(channels, channels, 1)
        self.last = nn.Conv2d(channels, 12, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        fine = self.enter(F.pixel_unshuffle(pad_to_multiple(x, 4), 2))
        coarse = self.down(F.pixel_unshuffle(fine, 2))
        fine = self.leave(fine + F.pixel_shuffle(self.up(coarse), 2))
        return F.pixel_shuffle(self.last(fine), 2)[..., :height, :width]


class ReferenceFusion(nn.Module):
    """A frame and a few reference pictures, moved to it, fused by a U-Net.

    choose: indices of the frames of reference by the clip's pictures, peaks and the frame's index; always
    `count` of them. matched: whether the picture of best matching blocks of all frames is one more.
    """

    is_video = True

    def __init__(self, choose: Choice, count: int, matched: bool = False, channels: int = 32) -> None:
        super().__init__()
        self.choose = choose
        self.matched = matched
        self.fuse = UNet(6 + 3 * (count + matched), channels)

    def forward(
        self, clip: Tensor, pqf: Tensor | None = None, qp: Tensor | None = None, keep: slice = slice(None)
    ) -> Tensor:
        given, enhanced = clip[:, :, :3], clip[:, :, 3:]
        peaks = torch.zeros(clip.shape[:2], dtype=torch.bool) if pqf is None else pqf.cpu()
        rows = []
        for n in range(len(clip)):
            for index in range(clip.shape[1])[keep]:
                own = enhanced[n, index]
                chosen = self.choose(enhanced[n], peaks[n], index)
                moved = moved_to(given[n], enhanced[n], index, chosen) - own
                parts = [10 * (given[n, index] - own), own, *(10 * moved)]
                if self.matched:
                    parts.append(10 * (closest_blocks(enhanced[n], index) - own))
                rows.append(torch.cat(parts))
        pictures = enhanced[:, keep].flatten(0, 1)
        return (pictures + self.fuse(torch.stack(rows)).float()).unflatten(0, (len(clip), -1))


def moved_to(given: Tensor, enhanced: Tensor, index: int, chosen: list[int]) -> Tensor:
    """Enhanced pictures of the chosen frames of a clip (T, 3, H, W), moved to the frame `index`."""
    with torch.no_grad():
        own = given[index].expand(len(chosen), -1, -1, -1)
        flow = least_squares_flow(own, given[chosen])
        return flow_warp(enhanced[chosen], flow, padding_mode="border")


@torch.no_grad()
def closest_blocks(pictures: Tensor, index: int) -> Tensor:
    """For each block of a picture the most similar one of the other pictures (T, 3, H, W), as a picture."""
    own = pictures[index]
    best, least = own.clone(), torch.full(own.shape[-2:], float("inf"))
    height, width = own.shape[-2:]
    for other in range(len(pictures)):
        if other == index:
            continue
        padded = F.pad(pictures[other : other + 1], [RANGE] * 4, mode="replicate")[0]
        for down in range(0, 2 * RANGE + 1, 2):
            for across in range(0, 2 * RANGE + 1, 2):
                moved = padded[:, down : down + height, across : across + width]
                misfit = box_mean((moved - own).abs().mean(dim=0)[None, None], BLOCK + 1)[0, 0]
                better = misfit < least
                best, least = torch.where(better, moved, best), torch.where(better, misfit, least)
    return best


def peaks_around(_: Tensor, peaks: Tensor, index: int) -> list[int]:
    """The nearest peaks before and behind; the clip's ends where there is none."""
    before = [other for other in range(index) if peaks[other]]
    behind = [other for other in range(index + 1, len(peaks)) if peaks[other]]
    return [before[-1] if before else 0, behind[0] if behind else len(peaks) - 1]


def both_neighbours(_: Tensor, peaks: Tensor, index: int) -> list[int]:
    """The frames before and behind."""
    return [max(0, index - 1), min(len(peaks) - 1, index + 1)]


def neighbours_and_texture(pictures: Tensor, peaks: Tensor, index: int) -> list[int]:
    """The frames before and behind and, as the reference of texture, the peak (the first frame counts as one)
    that differs least, as coarse pictures."""
    small = F.avg_pool2d(pictures, 4)
    candidates = [other for other in range(len(peaks)) if other != index and (peaks[other] or other == 0)]
    differences = {other: float((small[other] - small[index]).abs().mean()) for other in candidates}
    best = min(differences, key=differences.__getitem__) if differences else index
    return [*both_neighbours(pictures, peaks, index), best]


def quiet_at_first(network: BasicVSRPlusPlus) -> BasicVSRPlusPlus:
    """The network with zeros in its last convolution."""
    for parameter in network.conv_last.parameters():
        nn.init.zeros_(parameter)
    return network


def basicvsr(arch: str, alignment: str) -> nn.Module:
    """BasicVSR++ or its variant with peaks, small, features at half size."""
    settings: dict[str, Any] = {
        "mid_channels": 32,
        "num_blocks": 2,
        "is_low_res_input": False,
        "reconstruction_blocks": 2,
        "feature_stride": 2,
        "deform_groups": 4,
        "alignment": alignment,
    }
    return Behind(quiet_at_first(networks.build(arch, settings)))  # type: ignore[arg-type]


def crds(peaks: bool) -> nn.Module:
    """CRDS, small, latents at half size."""
    settings = {"channels": 32, "steps": 4, "encoder_blocks": 2, "decoder_blocks": 1, "propagation_blocks": 1}
    return Behind(networks.build("crds", {**settings, "heads": 2, "peaks": peaks}))


DESIGNS: dict[str, Callable[[], nn.Module]] = {
    "single frames": lambda: Behind(QECNN(48, 6, 2)),
    "three frames, U-Net": lambda: ReferenceFusion(peaks_around, 2),
    "neighbours, U-Net": lambda: ReferenceFusion(both_neighbours, 2),
    "texture reference": lambda: ReferenceFusion(neighbours_and_texture, 3),
    "block matching": lambda: ReferenceFusion(both_neighbours, 2, matched=True),
    "motion fusion, blend": lambda: GivenPictures(SPATIAL, blocks=0),
    "motion fusion": lambda: GivenPictures(SPATIAL, blocks=4, channels=48),
    "motion fusion, muna": lambda: GivenPictures(SPATIAL, blocks=4, channels=48, alignment="muna"),
    "basicvsr (warp)": lambda: basicvsr("basicvsrpp", "warp"),
    "basicvsr++": lambda: basicvsr("basicvsrpp", "deformable"),
    "pqf basicvsr++": lambda: basicvsr("pqf_basicvsrpp", "deformable"),
    "pqf basicvsr++, muna": lambda: basicvsr("pqf_basicvsrpp", "muna"),
    "crds": lambda: crds(False),
    "crds, peaks": lambda: crds(True),
    "crds, encoder": lambda: crds(False),
    "crds, intermediate": lambda: crds(False),
}
