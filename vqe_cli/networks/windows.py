"""Attention inside the windows of a picture, shifted or not (Liu et al., Swin Transformer, ICCV 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASKED = -100.0  # what the reference adds to the attention between pixels that the shift made neighbours
# Where the small tables below are made, also for a network on the meta device: counting there would load half
# of PyTorch first.
TABLES = "cpu"


def window_partition(x: Tensor, window: int) -> Tensor:
    """(N, H, W, C) to (N, H/window, W/window, window², C), H and W multiples of `window`."""
    count, height, width, channels = x.shape
    x = x.view(count, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(count, height // window, width // window, window**2, channels)


def window_merge(windows: Tensor, window: int) -> Tensor:
    """The inverse: (N, rows, columns, window², C) to (N, rows*window, columns*window, C)."""
    count, rows, columns, _, channels = windows.shape
    x = windows.view(count, rows, columns, window, window, channels)
    return x.transpose(2, 3).reshape(count, rows * window, columns * window, channels)


def relative_position_index(window: int) -> Tensor:
    """(window², window²) rows of the bias table: the numbered distance of each pair of pixels."""
    pixel = torch.arange(window**2, device=TABLES)
    row, column = pixel // window, pixel % window
    row_distance = row[:, None] - row[None, :] + window - 1
    column_distance = column[:, None] - column[None, :] + window - 1
    return row_distance * (2 * window - 1) + column_distance


def shift_masks(window: int, shift: int) -> Tensor:
    """What to add to the attention in windows of a shifted picture: (2, 2, window², window²).

    The first index says whether the window lies in the last row of windows, the second whether in the last
    column: only there do pixels meet that the shift brought together from opposite edges.
    """
    pixel = torch.arange(window**2, device=TABLES)
    wrapped_row, wrapped_column = pixel // window >= window - shift, pixel % window >= window - shift
    masks = torch.zeros(2, 2, window**2, window**2, device=TABLES)
    for last_row in (0, 1):
        for last_column in (0, 1):
            group = 2 * last_row * wrapped_row + last_column * wrapped_column
            masks[last_row, last_column].masked_fill_(group[:, None] != group[None, :], MASKED)
    return masks


class WindowAttention(nn.Module):
    """Multi-head attention among the pixels of each window, with a learned bias for their distance."""

    relative_position_index: Tensor
    shift_masks: Tensor

    def __init__(self, channels: int, window: int, heads: int, shift: int, fused: bool | None) -> None:
        super().__init__()
        self.heads = heads
        self.shifted = shift > 0
        self.fused = fused
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)
        self.register_buffer("shift_masks", shift_masks(window, shift), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """windows (N, rows, columns, window², C), the same shape out."""
        qkv = self.qkv(windows)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1).to(qkv.dtype)
        if not self.shifted:
            return self.proj(self.attend(qkv, bias))
        rows, columns = windows.shape[1] - 1, windows.shape[2] - 1
        bands = []
        for last_row, band in enumerate(qkv.split([rows, 1], dim=1)):
            masks = self.shift_masks[last_row].to(qkv.dtype)
            parts = band.split([columns, 1], dim=2)
            bands.append(
                torch.cat([self.attend(part, bias + masks[i]) for i, part in enumerate(parts)], dim=2)
            )
        return self.proj(torch.cat(bands, dim=1))

    def attend(self, qkv: Tensor, bias: Tensor) -> Tensor:
        """From qkv (N, rows, columns, L, 3*C) to (N, rows, columns, L, C); bias (heads, L, L)."""
        *outer, length, width = qkv.shape
        head = width // (3 * self.heads)
        query, key, value = qkv.reshape(-1, length, 3, self.heads, head).permute(2, 0, 3, 1, 4)
        fused = self.fused
        if fused is None:
            fused = qkv.device.type != "cpu" or not torch.is_grad_enabled()
        if fused:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        else:
            scores = (query * head**-0.5) @ key.transpose(-2, -1) + bias
            mixed = scores.softmax(dim=-1) @ value
        return mixed.transpose(1, 2).reshape(*outer, length, width // 3)
