"""A fault of the reference (mmcv) that is in the golden files and not in our networks."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_as_reference(pictures: Tensor, grid: Tensor) -> Tensor:
    """`deform.sample` as the reference's CPU kernel takes samples within 2e-6 px of far edges, in float64.

    That kernel (mmcv) floors positions that it has rounded to float32. So 63.9999999 counts as row 64 of 64,
    and it reads what lies there in memory: the first row of the next channel, or the start of the next row.
    The golden files have three such samples, and their networks spread one over the picture, up to 4e-3.
    """
    samples = F.grid_sample(pictures, grid, align_corners=False)
    channels, width, height = pictures.shape[1:]
    size = grid.new_tensor([height, width])
    position = ((grid + 1) * size - 1) / 2
    low = position.float().floor().to(grid.dtype)
    hit = (low == size).any(-1) & (position > -1).all(-1) & (position < size).all(-1)
    if not hit.any():
        return samples
    picture, tap, point = (index[:, None] for index in hit.nonzero(as_tuple=True))
    part_row, part_column = (position - low)[hit].unbind(-1)
    low_row, low_column = low[hit].long().unbind(-1)
    memory = F.pad(pictures.transpose(2, 3).flatten(), (0, 2 * width))
    channel = torch.arange(channels, device=grid.device)
    value = samples.new_zeros(len(picture), channels)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = low_row + down, low_column + right
        # Of the four neighbours only the lower and the right ones are held against the far edges.
        read = (row >= 0) & (column >= 0)
        read &= row < height if down else read
        read &= column < width if right else read
        share = (part_row if down else 1 - part_row) * (part_column if right else 1 - part_column)
        place = (picture * channels + channel) * (height * width) + (row * width + column)[:, None]
        value = value + memory[place.clamp(min=0)] * (share * read)[:, None]
    return samples.index_put((picture, channel[None], tap, point), value)
