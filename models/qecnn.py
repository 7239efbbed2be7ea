"""QECNN: a single-frame residual network conditioned on the QP; the spatial path of `balanced`."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import ModulatedBlock, QPEmbedding, pad_to_multiple

EMBEDDING = 32


class QECNN(nn.Module):
    """Quality enhancement of one picture, at the same size or larger.

    The picture is folded by pixel-unshuffle, passes residual blocks whose features the QP modulates, and is
    unfolded; what the network computes is added to the input (enlarged by bicubic interpolation when `scale`
    is above 1).

    channels, blocks: width and number of residual blocks. unshuffle: 1, 2 or 4, the fold of the input.
    scale: 1, 2 or 4. qp_conditioning: whether the QP modulates the blocks.
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
        code = self.code(qp, x.shape[0])
        features = self.features(padded, code, len(self.body))
        return self.finish(features, padded)[..., : height * self.scale, : width * self.scale]

    def code(self, qp: Tensor | None, count: int) -> Tensor | None:
        """The QP embedding (N, EMBEDDING) of `count` pictures, None without conditioning."""
        return self.embed(qp, count) if self.embed is not None else None

    def features(self, padded: Tensor, code: Tensor | None, blocks: int) -> Tensor:
        """Features (N, channels, H/unshuffle, W/unshuffle) after the head and the first `blocks` blocks."""
        x = self.head(F.pixel_unshuffle(padded, self.multiple))
        for block in self.body[:blocks]:
            x = block(x, code)
        return x

    def finish(self, features: Tensor, padded: Tensor) -> Tensor:
        """From the last features to the enhanced picture (N, 3, scale*H, scale*W)."""
        residual = F.pixel_shuffle(self.tail(features), self.multiple * self.scale)
        base = padded
        if self.scale > 1:
            base = F.interpolate(padded, scale_factor=self.scale, mode="bicubic", align_corners=False)
        return base + residual.to(base.dtype)
