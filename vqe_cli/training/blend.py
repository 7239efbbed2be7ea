"""The start of a grown network: its blend by least squares, which takes minutes where steps take hours."""

import logging
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.grown import BLEND_STEP, GrownLayout
from vqe_cli.training.data import Batch
from vqe_cli.training.schedule import LEAST_ERROR

log = logging.getLogger("vqe.training")
MARGIN = 8  # pixels from the border of a crop within which motion is not found
STRIDE = 4  # pixels between those that give an equation, both ways
RIDGE = 3e-2  # of the mean square of the inputs: what generalises best, and keeps weights small


@torch.no_grad()
def fit_blend(network: GrownLayout, batches: Iterable[Batch], bf16: bool, keep: slice = slice(None)) -> None:
    """Set the weights of `network.blend` to those that bring its output nearest to the truth of `batches`.

    Every picture of the frames `keep` counts by its squared error, as in the "psnr" loss. Logs the gain on
    these batches in dB.
    """
    device = network.blend.weight.device
    unknowns = network.blend.weight.numel() // 3
    products = torch.zeros(unknowns, unknowns, device=device)
    targets = torch.zeros(unknowns, 3, device=device)
    pictures = 0
    seen: list[tuple[Tensor, Tensor]] = []
    hook = network.blend.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    network.eval()
    network.blend.weight.zero_()
    for batch in batches:
        seen.clear()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = network(batch.lq, batch.pqf, batch.qp, keep).float()
        errors = (batch.gt[:, keep] - output).unbind(1)
        for (inputs, level), error in zip(seen, errors, strict=True):
            around = inputs[..., MARGIN - 1 : 1 - MARGIN, MARGIN - 1 : 1 - MARGIN]
            columns = F.unfold(around.float(), 3, stride=STRIDE)
            columns = torch.cat([columns, level[:, :, 0, 0, None] * columns], dim=1)
            rights = error[..., MARGIN:-MARGIN:STRIDE, MARGIN:-MARGIN:STRIDE].flatten(2)
            error_of_each = rights.square().mean(dim=(1, 2), keepdim=True) + LEAST_ERROR
            weighed = columns / (rights[0].numel() * error_of_each)
            products += torch.einsum("nip,njp->ij", weighed, columns)
            targets += torch.einsum("nip,njp->ij", weighed, rights)
            pictures += len(rights)
    hook.remove()
    network.train()
    ridge = RIDGE * products.diagonal().mean()
    weights = torch.linalg.solve(products + ridge * torch.eye(unknowns, device=device), targets)
    explained = float((weights * targets).sum()) / max(1, pictures)
    log.info("blend solved from %d pictures: %+.3f dB on them", pictures, -10 * math.log10(1 - explained))
    # One column for each colour, rows by how they count: always, then by the QP.
    by_use = (weights.T / BLEND_STEP).unflatten(1, (2, -1)).transpose(0, 1)
    network.blend.weight.copy_(by_use.reshape_as(network.blend.weight))
