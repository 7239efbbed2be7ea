"""QECNN: a single-frame residual network conditioned on the QP; the spatial path of `balanced`."""

import math
from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.layers import ModulatedBlock, QPEmbedding, pad_to_multiple

EMBEDDING = 32
LEVELS_KEPT = 64  # QPs whose folded weights are remembered: more than a video has


class QECNN(nn.Module):
    """Quality enhancement of one picture, at the same size or larger.

    The picture is folded by pixel-unshuffle, passes residual blocks whose features the QP modulates, and is
    unfolded; what the network computes is added to the input (enlarged by bicubic interpolation when `scale`
    is above 1).

    channels, blocks: width and number of residual blocks. unshuffle: 1, 2 or 4, the fold of the input.
    scale: 1, 2 or 4. qp_conditioning: whether the QP modulates the blocks. Raises
    ValueError for another fold or scale.
    """

    is_video = False

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 10,
        unshuffle: int = 2,
        scale: int = 1,
        qp_conditioning: bool = True,
    ) -> None:
        super().__init__()
        if unshuffle not in (1, 2, 4) or scale not in (1, 2, 4):
            raise ValueError(f"unshuffle and scale are 1, 2 or 4, not {unshuffle} and {scale}")
        self.scale = scale
        self.multiple = unshuffle
        self.embed = QPEmbedding(EMBEDDING) if qp_conditioning else None
        self.head = nn.Conv2d(3 * unshuffle**2, channels, 3, padding=1)
        self.body = nn.ModuleList(
            ModulatedBlock(channels, EMBEDDING if qp_conditioning else None) for _ in range(blocks)
        )
        self.tail = nn.Conv2d(channels, 3 * (unshuffle * scale) ** 2, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, qp: Tensor | None = None) -> Tensor:
        """x (N, 3, H, W), RGB in [0, 1], to (N, 3, scale*H, scale*W); qp (N,), NaN where unknown, or None."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.multiple)
        code = self.embed(qp, len(x)) if self.embed is not None else None
        features = self.head(F.pixel_unshuffle(padded, self.multiple))
        for block in self.body:
            features = block(features, code)
        residual = F.pixel_shuffle(self.tail(features), self.multiple * self.scale)
        base = padded
        if self.scale > 1:
            base = F.interpolate(padded, scale_factor=self.scale, mode="bicubic", align_corners=False)
        return (base + residual.to(base.dtype))[..., : height * self.scale, : width * self.scale]

    def for_inference(self) -> "FoldedQECNN":
        """The same network for inference alone, faster (`FoldedQECNN`)."""
        return FoldedQECNN(self)


class Convolution(NamedTuple):
    """weight (O, C, 3, 3), channels last, and bias (O,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=1)


class FoldedWeights(NamedTuple):
    """The convolutions of a QECNN at one QP; body: two of each block."""

    head: Convolution
    body: tuple[tuple[Convolution, Convolution], ...]
    tail: Convolution


class FoldedQECNN(nn.Module):
    """A QECNN for inference: what the QP does to features is folded into the convolutions, once for each QP.

    Scaling and shifting between two convolutions is the first one with scaled weights and another bias.
    Features stay in the type of autocast where that is on, else in that of the weights; the residual is
    added in float32 or better. Weights must not change any more.
    """

    is_video = False

    def __init__(self, network: QECNN) -> None:
        super().__init__()
        self.network = network
        self.scale = network.scale
        self.multiple = network.multiple
        self._folded: OrderedDict[tuple[float | None, torch.dtype, torch.device], FoldedWeights] = (
            OrderedDict()
        )

    def forward(self, x: Tensor, qp: Tensor | None = None) -> Tensor:
        """As `QECNN`; pictures of equal QP go through together."""
        levels = [None] * len(x) if qp is None else [None if math.isnan(q) else q for q in qp.tolist()]
        if len(set(levels)) == 1:
            return self.at_level(x, levels[0])
        out: list[Tensor] = [x] * len(x)
        for level in dict.fromkeys(levels):
            chosen = [index for index, each in enumerate(levels) if each == level]
            for index, picture in zip(chosen, self.at_level(x[chosen], level), strict=True):
                out[index] = picture
        return torch.stack(out)

    def at_level(self, x: Tensor, level: float | None) -> Tensor:
        """Pictures (N, 3, H, W) of one QP, None where it is unknown, to (N, 3, scale*H, scale*W)."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.multiple)
        with torch.autocast(kind, enabled=False):
            weights = self.weights_at(level, dtype, x.device)
            folded = F.pixel_unshuffle(padded.to(dtype), self.multiple)
            features = weights.head(folded.contiguous(memory_format=torch.channels_last))
            for first, second in weights.body:
                features += second(F.relu_(first(features)))
            residual = F.pixel_shuffle(weights.tail(features), self.multiple * self.scale)
        if self.scale > 1:
            # Bicubic interpolation of a picture that lies channels last takes half as long again.
            padded = F.interpolate(
                padded.contiguous(), scale_factor=self.scale, mode="bicubic", align_corners=False
            )
        return (padded + residual)[..., : height * self.scale, : width * self.scale]

    def weights_at(self, level: float | None, dtype: torch.dtype, device: torch.device) -> FoldedWeights:
        """The folded weights of a QP in a type, remembered."""
        key = (level, dtype, device)
        if key not in self._folded:
            self._folded[key] = fold(self.network, level, dtype)
            if len(self._folded) > LEVELS_KEPT:
                self._folded.popitem(last=False)
        return self._folded[key]


@torch.no_grad()
def fold(network: QECNN, level: float | None, dtype: torch.dtype) -> FoldedWeights:
    """The convolutions of a QECNN at a QP, None where it is unknown, rounded to `dtype` at the end."""

    def rounded(weight: Tensor, bias: Tensor) -> Convolution:
        # Contiguous copies outside inference mode and autograd: plain numbers.
        return Convolution(
            weight.detach().to(dtype).contiguous(memory_format=torch.channels_last), bias.detach().to(dtype)
        )

    def plain(layer: nn.Conv2d) -> Convolution:
        assert layer.bias is not None
        return rounded(layer.weight, layer.bias)

    code = None
    if network.embed is not None:
        weight = network.embed.expand.weight
        qp = torch.full((1,), math.nan if level is None else level, device=weight.device)
        code = network.embed(qp, 1)
    body = []
    for block in network.body:
        assert isinstance(block, ModulatedBlock)
        first = block.conv1
        if code is None or block.modulate is None:
            body.append((plain(first), plain(block.conv2)))
            continue
        assert first.bias is not None
        scale, shift = block.modulate(code)[0].to(first.weight.dtype).chunk(2)
        folded = rounded(first.weight * (1 + scale)[:, None, None, None], first.bias * (1 + scale) + shift)
        body.append((folded, plain(block.conv2)))
    return FoldedWeights(plain(network.head), tuple(body), plain(network.tail))
