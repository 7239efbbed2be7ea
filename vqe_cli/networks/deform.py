"""Deformable convolution in plain PyTorch, and the alignment of two neighbours' features that flows guide.

Deformable ConvNets v2 (Zhu et al., CVPR 2019) as a gather (`grid_sample`) and one matrix product;
BasicVSR++ (Chan et al., CVPR 2022), section 3.2, for the alignment.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.flow import pixel_grid, position_dtype

# The gathered samples are made and used up in bands of this many numbers: on a CPU they stay in the cache
# (measured with 64 channels: 0.6 of the time without bands, 0.85 in training), on a GPU they stay out of its
# memory.
BAND_NUMBERS = {"cpu": 1 << 21}
GPU_BAND_NUMBERS = 1 << 26
# Each band's gradient is as large as the picture, so that training takes few.
TRAINING_BANDS = 4


def tap_positions(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: int, dilation: int, like: Tensor
) -> Tensor:
    """Where a plain convolution samples: (taps, 2, H, W), rows before columns; `size` is the output's."""
    rows, columns = pixel_grid(*size, like)
    tap_rows, tap_columns = pixel_grid(*kernel, like)
    row = (stride * rows - padding)[None] + dilation * tap_rows.expand(kernel).reshape(-1, 1, 1)
    column = (stride * columns - padding)[None] + dilation * tap_columns.expand(kernel).reshape(-1, 1, 1)
    return torch.stack(torch.broadcast_tensors(row, column), dim=1)


def sample(pictures: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples (B, C, K, P) of pictures (B, C, W, H) at grid (B, K, P, 2), zeros outside."""
    return F.grid_sample(pictures, grid, align_corners=False)


def modulated_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Convolve x (N, C, H, W) with samples taken at moved places: (N, O, Ho, Wo) in the type of `mask`.

    offset (N, 2*G*K, Ho, Wo) in pixels: for deform group g and tap k channel 2*(g*K + k) is dy, the next
    one dx. mask (N, G*K, Ho, Wo) multiplies each sample. weight (O, C/groups, kh, kw) with K = kh*kw taps,
    bias (O,). Outside the picture lie zeros. Positions are computed in float32 or better.
    """
    count, channels, height, width = x.shape
    taps, points = weight.shape[2] * weight.shape[3], offset.shape[-2] * offset.shape[-1]
    share = channels // deform_groups
    # Offsets come as (dy, dx), grid_sample wants (x, y): turning the picture is free, turning the offsets
    # is not.
    offset = offset.to(position_dtype(x.dtype)).reshape(count * deform_groups, taps, 2, *offset.shape[-2:])
    pictures = x.to(offset.dtype).reshape(count * deform_groups, share, height, width).transpose(2, 3)
    size = offset.new_tensor([height, width]).view(2, 1, 1)
    places = tap_positions(
        (offset.shape[-2], offset.shape[-1]),
        (weight.shape[2], weight.shape[3]),
        stride,
        padding,
        dilation,
        offset,
    )
    grid = torch.addcmul((2 * places + 1) / size - 1, offset, 2 / size)
    grid = grid.reshape(-1, taps, 2, points).transpose(2, 3)
    mask = mask.reshape(count, deform_groups, 1, taps, points)
    kernel = weight.reshape(groups, weight.shape[0] // groups, -1).to(mask.dtype)

    def convolve(begin: int, end: int) -> Tensor:
        """The output (N, O, end - begin) of a run of points."""
        samples = sample(pictures, grid[:, :, begin:end]).to(mask.dtype)
        samples = samples.view(count, deform_groups, share, taps, -1) * mask[..., begin:end]
        return torch.matmul(kernel, samples.view(count, groups, -1, end - begin)).flatten(1, 2)

    step = max(1, BAND_NUMBERS.get(x.device.type, GPU_BAND_NUMBERS) // (count * channels * taps))
    if torch.is_grad_enabled():
        step = max(step, -(-points // TRAINING_BANDS))
    bands = [convolve(begin, min(begin + step, points)) for begin in range(0, points, step)]
    out = bands[0] if len(bands) == 1 else torch.cat(bands, dim=-1)
    out = out.reshape(count, weight.shape[0], *places.shape[-2:])
    return out if bias is None else out + bias.to(out.dtype).view(-1, 1, 1)


class SecondOrderDeformableAlignment(nn.Module):
    """Aligns the features of two neighbours with the current frame's by one deformable convolution.

    The sampling places are the flows plus corrections of at most `max_residue_magnitude` pixels that a
    small network reads from already warped features. in_channels: of both neighbours together.
    cond_channels: of the condition. Raises ValueError when the deform groups do not fit the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        cond_channels: int | None = None,
        deform_groups: int = 16,
        max_residue_magnitude: float = 10,
    ) -> None:
        super().__init__()
        if deform_groups % 2 or in_channels % deform_groups:
            raise ValueError(f"deform_groups must be even and divide {in_channels}, not {deform_groups}")
        self.deform_groups = deform_groups
        self.max_residue_magnitude = max_residue_magnitude
        bound = 1 / math.sqrt(in_channels * 9)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        cond_channels = 3 * out_channels if cond_channels is None else cond_channels
        self.conv_offset = nn.Sequential(
            nn.Conv2d(cond_channels + 4, out_channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(out_channels, 27 * deform_groups, 3, padding=1),
        )
        for parameter in self.conv_offset[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, cond: Tensor, flow_1: Tensor, flow_2: Tensor) -> Tensor:
        """Aligned features (N, O, H, W).

        x (N, in_channels, H, W): first-order neighbour's channels, then the second-order one's. cond (N,
        cond_channels, H, W). flow_1, flow_2 (N, 2, H, W): flows to the two neighbours.
        """
        count, _, height, width = x.shape
        flows = torch.cat([flow_1, flow_2], dim=1)
        out = self.conv_offset(torch.cat([cond, flows.to(cond.dtype)], dim=1))
        residue, mask = out.split([18 * self.deform_groups, 9 * self.deform_groups], dim=1)
        residue = self.max_residue_magnitude * torch.tanh(residue.to(flows.dtype))
        guide = flows.view(count, 2, 1, 2, height, width).flip(3)  # (x, y) to (dy, dx)
        offset = residue.reshape(count, 2, -1, 2, height, width) + guide
        return modulated_deform_conv2d(
            x,
            offset.reshape(count, -1, height, width),
            torch.sigmoid(mask),
            self.weight,
            self.bias,
            padding=1,
            deform_groups=self.deform_groups,
        )
