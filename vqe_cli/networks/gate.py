"""The mask network of gated ensembles: where to take the one result, and where the other (SPEC section 6)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.layers import ResidualBlock, kaiming_conv, pad_to_multiple


class GateNet(nn.Module):
    """Predicts M in [0, 1] of two results A and B, so that M * A + (1 - M) * B is better than either.

    It sees their mean and their difference, folded by pixel-unshuffle. At the start M is 0.5 everywhere: the
    plain mean. channels, blocks: width and number of residual blocks; unshuffle: 1, 2 or 4.
    """

    is_video = False
    scale = 1

    def __init__(self, channels: int = 32, blocks: int = 4, unshuffle: int = 2) -> None:
        super().__init__()
        if unshuffle not in (1, 2, 4):
            raise ValueError(f"unshuffle is 1, 2 or 4, not {unshuffle}")
        self.multiple = unshuffle
        self.head = kaiming_conv(6 * unshuffle**2, channels)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.tail = nn.Conv2d(channels, unshuffle**2, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """first and second (N, 3, H, W), RGB in [0, 1], to M (N, 1, H, W), the share of the first."""
        height, width = first.shape[-2:]
        # Results differ by a few hundredths; the factor brings that near to what the mean spans.
        seen = torch.cat([(first + second) / 2, 10 * (first - second)], dim=1)
        x = F.pixel_unshuffle(pad_to_multiple(seen, self.multiple), self.multiple)
        x = self.body(F.relu(self.head(x)))
        mask = torch.sigmoid(F.pixel_shuffle(self.tail(x), self.multiple).float())
        return mask[..., :height, :width]
