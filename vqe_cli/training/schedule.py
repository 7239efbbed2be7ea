"""Learning rate and loss as pure functions of a run's progress (0 … 1), so that resuming cannot drift."""

import math

import torch.nn.functional as F
from torch import Tensor

from vqe_cli.networks.layers import charbonnier
from vqe_cli.training.schema import ScheduleConfig

# Squared error (50 dB) below which the "psnr" loss loses interest: pictures that are nearly perfect must not
# outweigh the others.
LEAST_ERROR = 1e-5
# Brings the gradient of the squared error to the size of the others' at errors of 0.025 (QP 37).
SQUARES = 20


def rate_at(progress: float, schedule: ScheduleConfig) -> float:
    """Learning rate: linear warm-up, then `restarts` equal cosine periods down to `final_rate`."""
    if progress < schedule.warmup:
        return schedule.rate * (0.02 + 0.98 * progress / schedule.warmup)
    position = (progress - schedule.warmup) / max(1e-9, 1 - schedule.warmup) * schedule.restarts
    phase = 1.0 if position >= schedule.restarts else position % 1.0
    return schedule.final_rate + (schedule.rate - schedule.final_rate) * 0.5 * (1 + math.cos(math.pi * phase))


def group_rate(progress: float, schedule: ScheduleConfig, part: str) -> float:
    """Learning rate of a part of the network: "flow" and "encoder" are frozen at first, "rest" is not, and
    the flow network's rate is lower."""
    if part == "flow":
        return 0.0 if progress < schedule.flow_frozen else schedule.flow_rate * rate_at(progress, schedule)
    if part == "encoder" and progress < schedule.encoder_frozen:
        return 0.0
    return rate_at(progress, schedule)


def loss_at(
    progress: float, prediction: Tensor, target: Tensor, errors: Tensor, schedule: ScheduleConfig
) -> Tensor:
    """The schedule's loss of crops (N, 3, H, W), then the squared error for the last `mse_share`.

    errors (N,): of the whole picture that each crop is from (`data.picture_errors`). A change of a picture's
    PSNR is one of its squared error relative to that.
    The factors bring the gradients of all three to the same size at errors of 0.025 (QP 37).
    """
    if progress >= 1 - schedule.mse_share:
        return SQUARES * F.mse_loss(prediction, target)
    if schedule.loss == "psnr":
        squares = (prediction - target).square().mean(dim=(1, 2, 3))
        return 0.0125 * (squares / (errors + LEAST_ERROR)).mean()
    return charbonnier(prediction, target)
