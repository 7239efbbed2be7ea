"""Multi-frame neighbourhood attention, the alignment of CRDS (arXiv 2405.06342, equations 18 to 24).

For every position of a frame's features, the best mixture of a small window of candidates around the place
where it was in another frame predicts what stands there; the predictions of several reference frames are
fused into one.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.flow import flow_warp
from vqe_cli.networks.layers import ResidualBlock


class Reference(NamedTuple):
    """What a prediction is made of.

    features: (N, C, H, W) of the reference frame. flow: (N, 2, H, W) in pixels of that grid, from the
    predicted frame to the reference; None where both are the same frame, whose own position is then no
    candidate.
    """

    features: Tensor
    flow: Tensor | None


LEAST_SCORE = -1e4


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The type of scores: the softmax of a window is not taken in half precision."""
    return torch.promote_types(dtype, torch.float32)


def window_side(candidates: int) -> int:
    """Side of the square window of so many candidates.

    Raises ValueError unless it is the square of an odd number.
    """
    side = math.isqrt(candidates) if candidates > 0 else 0
    if side * side != candidates or side % 2 == 0:
        raise ValueError(f"candidates is the square of an odd number (9, 25, 49), not {candidates}")
    return side


class NeighbourhoodAttention(nn.Module):
    """Predicts a frame's features from one reference: softmax over the window of Q K / sqrt(d) + B, times V.

    channels: C. candidates: k, positions of the window, the square of an odd number. heads: the channels are
    divided among them. The reference is moved along the flow (bilinear, so that flows can learn) and the
    window is taken around each position of what was moved: the window around the flow's end, where the flow
    is smooth. Candidates outside the picture do not count. Raises ValueError for settings that contradict
    each other.
    """

    def __init__(self, channels: int, candidates: int = 9, heads: int = 4) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"heads is {heads}, which does not divide {channels} channels")
        self.side = window_side(candidates)
        self.heads = heads
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.bias = nn.Parameter(torch.zeros(heads, candidates))
        # Values start as the features themselves: the prediction starts as their local mean.
        nn.init.dirac_(self.value.weight)
        assert self.value.bias is not None
        nn.init.zeros_(self.value.bias)

    def forward(self, features: Tensor, reference: Reference) -> Tensor:
        """The prediction (N, C, H, W) of `features` (N, C, H, W); zero where nothing of the window is
        inside."""
        query = self._by_head(self.query(features)) / math.sqrt(features.shape[1] // self.heads)
        keys = torch.cat([self.key(reference.features), self.value(reference.features)], dim=1)
        inside = torch.ones_like(keys[:, :1])
        if reference.flow is not None:
            keys, inside = flow_warp(keys, reference.flow), flow_warp(inside, reference.flow)
        key, value = (self._by_head(part) for part in keys.chunk(2, dim=1))
        far = self.side // 2
        key, value = (F.pad(part, (far, far, far, far)) for part in (key, value))
        inside = F.pad(inside, (far, far, far, far)) > 0.5
        height, width = features.shape[-2:]
        shifts = [
            (slice(down, down + height), slice(across, across + width))
            for down in range(self.side)
            for across in range(self.side)
        ]
        scores, masks = [], []
        for number, (rows, columns) in enumerate(shifts):
            scores.append((query * key[..., rows, columns]).sum(dim=2) + self.bias[:, number, None, None])
            allowed = inside[..., rows, columns]
            if reference.flow is None and number == len(shifts) // 2:
                allowed = torch.zeros_like(allowed)
            masks.append(allowed)
        mask = torch.stack(masks)
        # Finite, so that a window without any candidate has a gradient; it weighs nothing.
        logits = torch.stack(scores).to(at_least_float32(value.dtype)).masked_fill(~mask, LEAST_SCORE)
        weights = (logits.softmax(dim=0) * mask).to(value.dtype)
        predicted = torch.zeros_like(query)
        for weight, (rows, columns) in zip(weights, shifts, strict=True):
            predicted = predicted + weight.unsqueeze(2) * value[..., rows, columns]
        return predicted.flatten(1, 2)

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, C, H, W) as (N, heads, C / heads, H, W)."""
        return x.unflatten(1, (self.heads, -1))


class MuNA(nn.Module):
    """One prediction from several references: attention to each, then concatenation, 1x1 convolution and a
    residual block.

    references: how many there are at each call. All share the projections; each has a relative bias of its
    own. How predictions are fused is not stated in the paper.
    """

    def __init__(self, channels: int, references: int, candidates: int = 9, heads: int = 4) -> None:
        super().__init__()
        first = NeighbourhoodAttention(channels, candidates, heads)
        self.attentions = nn.ModuleList([first])
        for _ in range(references - 1):
            other = NeighbourhoodAttention(channels, candidates, heads)
            other.query, other.key, other.value = first.query, first.key, first.value
            self.attentions.append(other)
        self.fuse = nn.Conv2d(references * channels, channels, 1)
        # Fusion starts as the mean of the predictions.
        assert self.fuse.bias is not None
        with torch.no_grad():
            self.fuse.weight.copy_(torch.eye(channels).repeat(1, references)[..., None, None] / references)
            self.fuse.bias.zero_()
        self.refine = ResidualBlock(channels)

    def forward(self, features: Tensor, references: Sequence[Reference]) -> Tensor:
        """The prediction (N, C, H, W) of `features` from its references, in the order of their biases."""
        predictions = [
            attention(features, reference)
            for attention, reference in zip(self.attentions, references, strict=True)
        ]
        return self.refine(self.fuse(torch.cat(predictions, dim=1)))
