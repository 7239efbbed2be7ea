"""Blocks that several networks share: padding, residual blocks, QP modulation, pixel shuffle, losses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pad_to_multiple(x: Tensor, multiple: int, minimum: int = 1) -> Tensor:
    """Pad x (..., C, H, W) right and bottom until H and W are multiples of `multiple` and at least `minimum`.

    Reflects where the picture is large enough, else repeats the edge. Crop the result to get back.
    """
    height, width = x.shape[-2:]
    pad_h = max(minimum, -(-height // multiple) * multiple) - height
    pad_w = max(minimum, -(-width // multiple) * multiple) - width
    if pad_h == 0 and pad_w == 0:
        return x
    flat = x.reshape(-1, *x.shape[-3:])
    mode = "reflect" if pad_h < height and pad_w < width else "replicate"
    flat = F.pad(flat, (0, pad_w, 0, pad_h), mode=mode)
    return flat.reshape(*x.shape[:-2], height + pad_h, width + pad_w)


def box_mean(x: Tensor, window: int) -> Tensor:
    """Mean of x (..., C, H, W) in an odd window around each place; what lies outside does not count.

    On a CPU as sums of shifted pictures, seven times as fast there as average pooling.
    """
    far = window // 2
    if x.device.type != "cpu":
        return F.avg_pool2d(x, window, 1, far, count_include_pad=False)
    height, width = x.shape[-2:]
    padded = F.pad(x, (far, far, far, far))
    rows = padded[..., :height, :].clone()
    for shift in range(1, window):
        rows += padded[..., shift : shift + height, :]
    sums = rows[..., :width].clone()
    for shift in range(1, window):
        sums += rows[..., shift : shift + width]
    return sums / (inside_window(height, far, x)[:, None] * inside_window(width, far, x))


def inside_window(length: int, far: int, like: Tensor) -> Tensor:
    """How many of the places up to `far` before and behind each of `length` places there are."""
    place = torch.arange(length, device=like.device, dtype=like.dtype)
    return place.clamp(max=far) + (length - 1 - place).clamp(max=far) + 1


def charbonnier(prediction: Tensor, target: Tensor, eps: float = 1e-12) -> Tensor:
    """Mean of sqrt(difference² + eps): a smooth L1 (the winners' first loss, eps as in SPEC section 8)."""
    return torch.sqrt((prediction - target).square() + eps).mean()


class QPEmbedding(nn.Module):
    """QP of each picture (N,), NaN where unknown, to an embedding (N, width)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.expand = nn.Linear(3, width)
        self.mix = nn.Linear(width, width)

    def forward(self, qp: Tensor | None, count: int) -> Tensor:
        """qp (N,) on HEVC's scale or None (all unknown); count is N."""
        weight = self.expand.weight
        if qp is None:
            qp = torch.full((count,), float("nan"), device=weight.device)
        known = ~torch.isnan(qp)
        level = torch.where(known, (qp - 32.0) / 10.0, torch.zeros_like(qp))
        code = torch.stack([known.to(level.dtype), level, level.square()], dim=1).to(weight.dtype)
        return F.silu(self.mix(F.silu(self.expand(code))))


class ModulatedBlock(nn.Module):
    """Residual block of two 3x3 convolutions between which the QP scales and shifts (FiLM, zero at first)."""

    def __init__(self, channels: int, embedding: int | None) -> None:
        super().__init__()
        self.conv1 = kaiming_conv(channels, channels)
        self.conv2 = kaiming_conv(channels, channels, gain=0.1)
        self.modulate = nn.Linear(embedding, 2 * channels) if embedding else None
        if self.modulate is not None:
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, code: Tensor | None) -> Tensor:
        """x (N, C, H, W), code (N, embedding) or None without modulation."""
        y = self.conv1(x)
        if self.modulate is not None and code is not None:
            scale, shift = self.modulate(code)[:, :, None, None].to(y.dtype).chunk(2, dim=1)
            y = y * (1 + scale) + shift
        return x + self.conv2(F.relu(y))


def kaiming_conv(
    in_channels: int, out_channels: int, kernel: int = 3, gain: float = 1.0, stride: int = 1
) -> nn.Conv2d:
    """A padded convolution with Kaiming weights times `gain` and zero bias."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, stride=stride)
    if not conv.weight.is_meta:  # there, normal numbers would load half of PyTorch and change nothing
        nn.init.kaiming_normal_(conv.weight)
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.mul_(gain)
        conv.bias.zero_()
    return conv


class ResidualBlock(nn.Module):
    """Residual block of two 3x3 convolutions without normalisation, close to the identity at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = kaiming_conv(channels, channels, gain=0.1)
        self.conv2 = kaiming_conv(channels, channels, gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W)."""
        return x + self.conv2(F.relu(self.conv1(x), inplace=True))


class ResidualBlocks(nn.Module):
    """A convolution to `channels` and residual blocks behind it; keys as in public BasicVSR++."""

    def __init__(self, in_channels: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks))),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, H, W) to (N, channels, H, W)."""
        return self.main(x)


class PixelShuffleUp(nn.Module):
    """Twice the size by a convolution and a pixel shuffle; keys as in public BasicVSR++."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample_conv = nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in_channels, H, W) to (N, out_channels, 2H, 2W)."""
        return F.pixel_shuffle(self.upsample_conv(x), 2)


class FeatureModulation(nn.Module):
    """Scales and shifts features by the QP of their picture; does nothing at the start."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.embed = QPEmbedding(width)
        self.modulate = nn.Linear(width, 2 * channels)
        for parameter in self.modulate.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, qp: Tensor | None) -> Tensor:
        """x (N, C, H, W); qp (N,) with NaN where unknown, or None."""
        scale, shift = self.modulate(self.embed(qp, len(x)))[:, :, None, None].to(x.dtype).chunk(2, dim=1)
        return x * (1 + scale) + shift
