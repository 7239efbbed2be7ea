"""Motion between frames: warping along a flow, composing and resizing flows, SpyNet to estimate them.

A flow is (N, 2, H, W) in pixels of its own grid, channel 0 along x and channel 1 along y: what is at p in the
reference frame is at p + flow(p) in the other one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.layers import kaiming_conv

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LEVEL_WIDTHS = (8, 32, 64, 32, 16, 2)
LAST_LAYER_GAIN = 0.05
# Without gradients the pairs of a clip are taken in batches of this many pixels (64 channels of them are 64
# MiB in float32), so that memory does not grow with the clip. A GPU wants fewer and larger ones.
BATCH_PIXELS = {"cpu": 1 << 18}
GPU_BATCH_PIXELS = 1 << 22


def pairs_at_once(pictures: Tensor) -> int:
    """How many of the pictures (..., H, W) are taken in one batch."""
    pixels = BATCH_PIXELS.get(pictures.device.type, GPU_BATCH_PIXELS)
    return max(1, pixels // (pictures.shape[-2] * pictures.shape[-1]))


def position_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type of sampling positions: never below float32 (bfloat16 rounds 255.5 px to 256)."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def pixel_grid(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Row coordinates (H, 1) and column coordinates (1, W) on the device and in the type of `like`."""
    rows = torch.arange(height, device=like.device, dtype=like.dtype)[:, None]
    columns = torch.arange(width, device=like.device, dtype=like.dtype)[None, :]
    return rows, columns


def flow_warp(
    x: Tensor,
    flow: Tensor,
    interpolation: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = True,
) -> Tensor:
    """x (N, C, H, W) fetched at every pixel's position plus flow (N, 2, H, W), in the type of x.

    interpolation: "bilinear" or "nearest". padding_mode: "zeros", "border" or "reflection". Positions are
    normalised by size - 1 whatever `align_corners` says, as the reference does (so False stretches a little).
    Raises ValueError when the sizes differ.
    """
    height, width = x.shape[-2:]
    if flow.shape[-2:] != x.shape[-2:]:
        raise ValueError(f"a flow of {tuple(flow.shape[-2:])} cannot warp a picture of {tuple(x.shape[-2:])}")
    flow = flow.to(position_dtype(x.dtype))
    rows, columns = pixel_grid(height, width, flow)
    grid_x = (columns + flow[:, 0]) * (2.0 / max(width - 1, 1)) - 1.0
    grid_y = (rows + flow[:, 1]) * (2.0 / max(height - 1, 1)) - 1.0
    grid = torch.stack((grid_x, grid_y), dim=-1)
    warped = F.grid_sample(x.to(grid.dtype), grid, interpolation, padding_mode, align_corners)
    return warped.to(x.dtype)


def compose_flow(first: Tensor, second: Tensor) -> Tensor:
    """The flow a -> c from `first` a -> b and `second` b -> c, all (N, 2, H, W)."""
    return first + flow_warp(second, first)


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow (N, 2, h, w) on a grid of `size` (H, W), bilinear, its values scaled to the new pixels."""
    height, width = flow.shape[-2:]
    if (height, width) == size:
        return flow
    resized = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    return resized * resized.new_tensor([size[1] / width, size[0] / height]).view(1, 2, 1, 1)


class ConvUnit(nn.Module):
    """A 7x7 convolution under the key `conv`, as the reference names it."""

    def __init__(self, in_channels: int, out_channels: int, gain: float = 1.0) -> None:
        super().__init__()
        self.conv = kaiming_conv(in_channels, out_channels, 7, gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class FlowLevel(nn.Module):
    """Five convolutions: reference (3), warped other frame (3), flow so far (2) to its correction (2)."""

    def __init__(self) -> None:
        super().__init__()
        last = len(LEVEL_WIDTHS) - 2
        self.basic_module = nn.ModuleList(
            ConvUnit(LEVEL_WIDTHS[i], LEVEL_WIDTHS[i + 1], LAST_LAYER_GAIN if i == last else 1.0)
            for i in range(last + 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 8, H, W) to (N, 2, H, W)."""
        for unit in self.basic_module[:-1]:
            x = F.relu(unit(x), inplace=True)
        return self.basic_module[-1](x)


class SpyNet(nn.Module):
    """Optical flow by a spatial pyramid (Ranjan and Black, CVPR 2017), with the layout of public BasicVSR++.

    levels: of the pyramid, coarsest first; 6 in the public weights. Pictures are resized up to a multiple of
    2^(levels-1) inside, so any size goes in.
    """

    is_video = False
    scale = 1
    mean: Tensor
    std: Tensor

    def __init__(self, levels: int = 6) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(FlowLevel() for _ in range(levels))
        self.multiple = 2 ** (levels - 1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        """Flow (N, 2, H, W) from `ref` to `supp`, both (N, 3, H, W) RGB in [0, 1]."""
        size = (ref.shape[-2], ref.shape[-1])
        flow = self.compute_flow(self.resize_up(ref), self.resize_up(supp))
        return resize_flow(flow, size)

    def clip_flows(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Flows of a clip (N, T, 3, H, W) to the previous frame and to the next one, each (N, T-1, 2, H, W).

        `forward[:, i]` leads from frame i+1 to i, `backward[:, i]` from i to i+1: the names tell the
        direction in which features travel, as in the reference. All pairs are one batch while training.
        """
        count, frames, channels, height, width = clip.shape
        if frames == 1:
            empty = clip.new_zeros(count, 0, 2, height, width)
            return empty, empty
        earlier = clip[:, :-1].reshape(-1, channels, height, width)
        later = clip[:, 1:].reshape(-1, channels, height, width)
        ref, supp = torch.cat([later, earlier]), torch.cat([earlier, later])
        step = len(ref) if torch.is_grad_enabled() else pairs_at_once(ref)
        flows = [self(*pair) for pair in zip(ref.split(step), supp.split(step), strict=True)]
        forward, backward = torch.cat(flows).view(2, count, frames - 1, 2, height, width)
        return forward, backward

    def flows_on_grid(self, clip: Tensor, stride: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """`clip_flows` of a clip seen at 1 / stride of its size, on a grid of `size` (h, w), in its pixels.

        clip (N, T, 3, H, W), H and W multiples of stride.
        """
        small = clip
        if stride > 1:
            small = F.interpolate(clip.flatten(0, 1), scale_factor=1 / stride, mode="bicubic")
            small = small.unflatten(0, clip.shape[:2])
        forward, backward = (
            resize_flow(flow.flatten(0, 1), size).unflatten(0, flow.shape[:2])
            for flow in self.clip_flows(small)
        )
        return forward, backward

    def resize_up(self, x: Tensor) -> Tensor:
        """x (N, 3, h, w) enlarged (bilinear) to the next multiple of `self.multiple`."""
        height, width = (-(-length // self.multiple) * self.multiple for length in x.shape[-2:])
        if (height, width) == tuple(x.shape[-2:]):
            return x
        return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Normalised pictures (N, 3, H, W) and their halvings, coarsest first."""
        levels = [(x - self.mean) / self.std]
        for _ in range(len(self.basic_module) - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels[::-1]

    def compute_flow(self, ref: Tensor, supp: Tensor) -> Tensor:
        """Flow from `ref` to `supp` (N, 3, H, W), H and W multiples of `self.multiple`; at least float32."""
        return self.level_flows(ref, supp)[-1]

    def level_flows(self, ref: Tensor, supp: Tensor) -> list[Tensor]:
        """The flow that each level of the pyramid leaves, coarsest first: (N, 2, h, w) of its own grid."""
        flows: list[Tensor] = []
        for level, ref_picture, supp_picture in zip(
            self.basic_module, self.pyramid(ref), self.pyramid(supp), strict=True
        ):
            if flows:
                flow = 2.0 * F.interpolate(flows[-1], scale_factor=2, mode="bilinear", align_corners=True)
            else:
                height, width = ref_picture.shape[-2:]
                flow = ref_picture.new_zeros(len(ref), 2, height, width, dtype=position_dtype(ref.dtype))
            warped = flow_warp(supp_picture, flow, padding_mode="border")
            correction = level(torch.cat([ref_picture, warped, flow.to(warped.dtype)], dim=1))
            flows.append(flow + correction.to(flow.dtype))
        return flows
