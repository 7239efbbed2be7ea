"""The start of MotionFusion: its blend by least squares, which takes minutes where steps take hours."""

import logging
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from vqe_cli.networks.motion_fusion import BLEND_STEP, FORMS, RING, MotionFusion
from vqe_cli.training.data import Batch
from vqe_cli.training.schedule import LEAST_ERROR

log = logging.getLogger("vqe.training")
MARGIN = 8  # pixels from the border of a crop within which motion is not found
STRIDE = 4  # pixels between those that give an equation, both ways
RIDGE = 1e-3  # of the mean square of the inputs: what generalises best, and keeps weights small


@torch.no_grad()
def fit_blend(network: MotionFusion, batches: Iterable[Batch], bf16: bool, keep: slice = slice(None)) -> None:
    """Set the weights of `network.blend` to those that bring its output nearest to the truth of `batches`.

    Every picture of the frames `keep` counts by the error of the whole picture, as in the "psnr" loss. Logs
    the gain on these batches in dB.
    """
    device = network.blend.weight.device
    unknowns = network.blend.weight.numel()
    products = torch.zeros(unknowns, unknowns, device=device)
    targets = torch.zeros(unknowns, device=device)
    before = torch.zeros((), device=device)
    pictures = 0
    seen: list[tuple[Tensor, ...]] = []
    hook = network.blend.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    network.eval()
    network.blend.weight.zero_()
    for batch in batches:
        seen.clear()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = network(batch.lq, batch.pqf, batch.qp, keep).float()
        lacking = (batch.gt[:, keep] - output).unbind(1)
        for inputs, wanted, size in zip(seen, lacking, batch.errors[:, keep].unbind(1), strict=True):
            for *known, right, error in zip(*inputs, wanted, size, strict=True):
                columns = equations(*known)
                rights = inside(right).flatten()
                weighed = columns / (len(rights) * (error + LEAST_ERROR))
                products += weighed @ columns.T
                targets += weighed @ rights
                before += rights.square().mean() / (error + LEAST_ERROR)
                pictures += 1
    hook.remove()
    network.train()
    ridge = RIDGE * products.diagonal().mean()
    weights = torch.linalg.solve(products + ridge * torch.eye(unknowns, device=device), targets)
    explained = float((weights * targets).sum() / before) if pictures else 0.0
    log.info("blend solved from %d pictures: %+.3f dB on them", pictures, -10 * math.log10(1 - explained))
    network.blend.weight.copy_((weights / BLEND_STEP).view_as(network.blend.weight))


def equations(differences: Tensor, level: Tensor, worse: Tensor, active: Tensor) -> Tensor:
    """What each weight of the blend is multiplied by in one picture: (weights, 3 * pixels) of the inputs of
    `vqe_cli.networks.motion_fusion.Blend`, without their first dimension."""
    rings = torch.stack([torch.tensor(RING, device=differences.device) == ring for ring in range(3)])
    images = differences.float().flatten(0, 1)[:, None]
    sums = inside(F.conv2d(images, rings[:, None].float(), padding=1)).unflatten(0, differences.shape[:2])
    always = sums.permute(0, 2, 1, 3, 4).flatten(2)  # (differences, rings, 3 * pixels)
    by_worse = worse.repeat(FORMS)[:, None, None] * always
    features = torch.stack([always, by_worse])
    features = torch.stack([features, level * features])
    activity = inside(active.expand(3, -1, -1)).flatten()
    return torch.stack([features, activity * features]).flatten(0, -2)


def inside(pictures: Tensor) -> Tensor:
    """The places of pictures (..., H, W) that give equations."""
    return pictures[..., MARGIN:-MARGIN:STRIDE, MARGIN:-MARGIN:STRIDE].float()
