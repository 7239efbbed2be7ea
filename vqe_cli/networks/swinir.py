"""SwinIR (Liang et al., ICCV workshops 2021): residual groups of shifted-window attention, for one picture.

Features travel as (N, H, W, C), which a convolution takes as channels-last pictures without a copy.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.layers import FeatureModulation, pad_to_multiple
from vqe_cli.networks.windows import WindowAttention, window_merge, window_partition

RGB_MEAN = (0.4488, 0.4371, 0.4040)
UPSAMPLE_WIDTH = 64


class Mlp(nn.Module):
    """Two linear layers around a GELU, for each pixel."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Attention in windows, shifted by half a window in every other block, and an Mlp; both residual."""

    def __init__(
        self, channels: int, window: int, heads: int, shift: int, mlp_ratio: float, fused: bool | None
    ) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, window, heads, shift, fused)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, H, W, C), H and W multiples of the window."""
        y = self.norm1(x)
        if self.shift:
            y = y.roll((-self.shift, -self.shift), dims=(1, 2))
        y = window_merge(self.attn(window_partition(y, self.window)), self.window)
        if self.shift:
            y = y.roll((self.shift, self.shift), dims=(1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class BlockRow(nn.Module):
    """Blocks in a row under the key `blocks`, as the reference names them."""

    def __init__(
        self, channels: int, depth: int, heads: int, window: int, mlp_ratio: float, fused: bool | None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(channels, window, heads, window // 2 if index % 2 else 0, mlp_ratio, fused)
            for index in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, H, W, C)."""
        for block in self.blocks:
            x = block(x)
        return x


class ResidualGroup(nn.Module):
    """A row of blocks and a convolution, residual; the QP modulates its input where asked for."""

    def __init__(self, blocks: BlockRow, conv: nn.Module, modulation: FeatureModulation | None) -> None:
        super().__init__()
        self.residual_group = blocks
        self.conv = conv
        self.modulation = modulation

    def forward(self, x: Tensor, qp: Tensor | None) -> Tensor:
        """x (N, H, W, C); qp (N,) or None."""
        if self.modulation is not None:
            x = self.modulation(x.permute(0, 3, 1, 2), qp).permute(0, 2, 3, 1)
        y = self.conv(self.residual_group(x).permute(0, 3, 1, 2))
        return x + y.permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """The normalisation in front of the groups, under the reference's key."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, H, W, C)."""
        return self.norm(x)


def group_conv(channels: int, kind: str) -> nn.Module:
    """The convolution behind a group: "1conv", or "3conv", a bottleneck with fewer parameters.

    Raises ValueError for another kind, and where the bottleneck would have no channels.
    """
    if kind == "1conv":
        return nn.Conv2d(channels, channels, 3, padding=1)
    if kind != "3conv":
        raise ValueError(f"resi_connection is '1conv' or '3conv', not {kind!r}")
    if channels < 4:
        raise ValueError(f"resi_connection '3conv' needs 4 channels or more, not {channels}")
    return nn.Sequential(
        nn.Conv2d(channels, channels // 4, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(channels // 4, channels // 4, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(channels // 4, channels, 3, padding=1),
    )


class SwinIR(nn.Module):
    """Restores one picture, or enlarges it where `upsampler` is given.

    The arguments are the reference's: embed_dim channels, `depths` blocks and `num_heads` heads of each
    group, window_size pixels. upsampler: "" (same size), "pixelshuffle", "pixelshuffledirect" or
    "nearest+conv" (x4). img_range: what 1.0 counts inside. Ours: unshuffle, the fold of a picture that keeps
    its size (1, or 2 for a quarter of the work); residual_step, by which what is added to such a picture is
    multiplied (below 1 an optimizer disturbs a good stage I less at first); qp_conditioning, whether the QP
    modulates the groups; fused_attention, whether PyTorch's fused kernel is used (the results agree to
    rounding), None for everywhere but in training on a CPU. There a step takes 0.89 s with it and 0.53
    without (embed_dim 60, 8 blocks, four 64x64 pictures, one core, bfloat16), but a picture 0.75 s with it
    and 1.79 without (embed_dim 64, 12 blocks, unshuffle 2, 480x272). Raises ValueError for what cannot be.
    """

    is_video = False
    mean: Tensor

    def __init__(
        self,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        upscale: int = 1,
        img_range: float = 1.0,
        upsampler: str | None = "",
        resi_connection: str = "1conv",
        unshuffle: int = 1,
        residual_step: float = 1.0,
        qp_conditioning: bool = False,
        fused_attention: bool | None = None,
    ) -> None:
        super().__init__()
        self.scale = upscale
        self.window = window_size
        self.multiple = window_size * unshuffle
        self.unshuffle = unshuffle
        self.img_range = img_range
        self.residual_step = residual_step
        self.upsampler = upsampler or ""
        if len(depths) != len(num_heads) or any(embed_dim % heads for heads in num_heads):
            raise ValueError(
                f"num_heads {list(num_heads)} must divide {embed_dim}, for each of {len(depths)}"
            )
        if int(embed_dim * mlp_ratio) < 1:
            raise ValueError(f"mlp_ratio {mlp_ratio} leaves nothing of {embed_dim} channels")
        if unshuffle != 1 and upsampler:
            raise ValueError("unshuffle is for pictures that keep their size, without upsampler")
        mean = torch.tensor(RGB_MEAN) if in_chans == 3 else torch.zeros(in_chans)
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(in_chans * unshuffle**2, embed_dim, 3, padding=1)
        self.patch_embed = PatchEmbed(embed_dim)
        self.layers = nn.ModuleList(
            ResidualGroup(
                BlockRow(embed_dim, depth, heads, window_size, mlp_ratio, fused_attention),
                group_conv(embed_dim, resi_connection),
                FeatureModulation(embed_dim) if qp_conditioning else None,
            )
            for depth, heads in zip(depths, num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = group_conv(embed_dim, resi_connection)
        self.apply(initialise)
        self.add_upsampler(embed_dim, in_chans)

    def add_upsampler(self, channels: int, out_chans: int) -> None:
        """The layers from the last features to the picture."""
        width = UPSAMPLE_WIDTH
        if self.upsampler == "":
            if self.scale != 1:
                raise ValueError(f"upscale {self.scale} needs an upsampler")
            self.conv_last = nn.Conv2d(channels, out_chans * self.unshuffle**2, 3, padding=1)
            for parameter in self.conv_last.parameters():
                nn.init.zeros_(parameter)  # untrained, the network returns its input
            return
        if self.upsampler == "pixelshuffledirect":
            conv = nn.Conv2d(channels, self.scale**2 * out_chans, 3, padding=1)
            self.upsample = nn.Sequential(conv, nn.PixelShuffle(self.scale))
            return
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU())
        self.conv_last = nn.Conv2d(width, out_chans, 3, padding=1)
        if self.upsampler == "pixelshuffle":
            factors = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}.get(self.scale)
            if factors is None:
                raise ValueError(f"pixelshuffle enlarges by 2, 3, 4 or 8, not {self.scale}")
            steps = [
                layer
                for factor in factors
                for layer in (nn.Conv2d(width, factor**2 * width, 3, padding=1), nn.PixelShuffle(factor))
            ]
            self.upsample = nn.Sequential(*steps)
        elif self.upsampler == "nearest+conv" and self.scale == 4:
            self.conv_up1, self.conv_up2, self.conv_hr = (
                nn.Conv2d(width, width, 3, padding=1) for _ in range(3)
            )
        else:
            raise ValueError(f"no upsampler {self.upsampler!r} for upscale {self.scale}")

    def forward(self, x: Tensor, qp: Tensor | None = None) -> Tensor:
        """x (N, C, H, W) in [0, 1] to (N, C, upscale*H, upscale*W); qp (N,), NaN where unknown, or None."""
        height, width = x.shape[-2:]
        picture = (pad_to_multiple(x, self.multiple) - self.mean) * self.img_range
        first = self.conv_first(F.pixel_unshuffle(picture, self.unshuffle))
        features = self.patch_embed(first.permute(0, 2, 3, 1))
        for layer in self.layers:
            features = layer(features, qp)
        features = self.conv_after_body(self.norm(features).permute(0, 3, 1, 2)) + first
        out = self.to_picture(features)
        if self.upsampler == "":
            out = picture + self.residual_step * out
        return (out / self.img_range + self.mean)[..., : height * self.scale, : width * self.scale]

    def to_picture(self, x: Tensor) -> Tensor:
        """Features (N, embed_dim, H, W) to (N, C, upscale*H, upscale*W)."""
        if self.upsampler == "":
            return F.pixel_shuffle(self.conv_last(x), self.unshuffle)
        if self.upsampler == "pixelshuffledirect":
            return self.upsample(x)
        x = self.conv_before_upsample(x)
        if self.upsampler == "pixelshuffle":
            return self.conv_last(self.upsample(x))
        for conv in (self.conv_up1, self.conv_up2):
            x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


def initialise(module: nn.Module) -> None:
    """Truncated normal of 0.02 for linear layers and bias tables, zero biases, as the reference."""
    if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
        return  # nothing to initialise, and it would load half of PyTorch
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
    elif isinstance(module, FeatureModulation):
        nn.init.zeros_(module.modulate.weight)
