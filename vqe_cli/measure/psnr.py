"""Peak signal-to-noise ratio: of integer planes exactly, of float pictures to about 1e-6 dB."""

import math

import numpy as np
import torch
from torch import Tensor


def from_mse(mse: float, peak: float = 255.0) -> float:
    """PSNR in dB of a mean squared error in code units; infinite for identical pictures."""
    return math.inf if mse == 0 else 10 * math.log10(peak * peak / mse)


def plane_mse(gt: np.ndarray, pred: np.ndarray) -> float:
    """Mean squared error of two planes (h, w) of integer codes, summed in integers: exact at any size."""
    wide = np.int16 if gt.dtype == pred.dtype == np.uint8 else np.int64
    difference = np.subtract(gt, pred, dtype=wide)
    narrow = np.int32 if wide == np.int16 else np.int64
    return int(np.square(difference, dtype=narrow).sum(dtype=np.int64)) / difference.size


def picture_mse(gt: Tensor, pred: Tensor) -> float:
    """Mean squared error of two pictures (C, H, W) over all their samples; rows are summed in float32."""
    rows = (gt - pred).square_().sum(dim=-1)
    return float(rows.sum(dtype=torch.float64)) / gt.numel()
