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
RIDGE = 1e-2  # of the mean square of the inputs: what generalises best, and keeps weights small


@torch.no_grad()
def fit_blend(network: GrownLayout, batches: Iterable[Batch], bf16: bool) -> None:
    """Set the weights of `network.blend` to those that bring its output nearest to the truth of `batches`.

    Every picture counts by its squared error, as in the "psnr" loss. Logs the gain on these batches in dB.
    """
    device = network.blend.weight.device
    unknowns = math.prod(network.blend.weight.shape[1:])
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
            output = network(batch.lq, batch.pqf, batch.qp).float()
        for (differences, level), error in zip(seen, (batch.gt - output).unbind(1), strict=True):
            around = differences[..., MARGIN - 1 : 1 - MARGIN, MARGIN - 1 : 1 - MARGIN]
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
    network.blend.weight.copy_((weights.T / BLEND_STEP).view_as(network.blend.weight))
