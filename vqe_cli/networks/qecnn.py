"""QECNN: a single-frame residual network conditioned on the QP; the spatial path of `balanced`."""

import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.layers import ModulatedBlock, QPEmbedding, pad_to_multiple

EMBEDDING = 32


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
