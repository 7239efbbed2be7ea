"""What CRDS learns (arXiv 2405.06342): first its encoder and decoder on blends of compressed picture and
truth (equations 8 to 10), then the whole with its intermediate latents supervised (16, 17)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.crds import CRDS, LatentAutoEncoder
from vqe_cli.training.data import Batch
from vqe_cli.training.flow import generators
from vqe_cli.training.schedule import SQUARES, loss_at
from vqe_cli.training.stage import StageTask

LEVELS = 4  # of quality between a compressed picture (4) and its truth (0)
LEAST_WEIGHT = 0.25  # added to the share of the compressed picture in equation 10


def blend(worse: Tensor, truth: Tensor, share: Tensor | float) -> Tensor:
    """x̂^s: `share` of the compressed picture and the rest of the truth (8)."""
    return truth + share * (worse - truth)


class LatentTask(StageTask):
    """LDR-AE: from the latents of a compressed picture and of a blend, the residual between the two (9, 10).

    Measured as the gain of what comes out when the better latent is the truth's: how much the latents can
    carry.
    """

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """Squared error relative to the share of the compressed picture, which s (0 … 3) draws for each
        clip."""
        keep = self.config.data.kept
        worse, truth = batch.lq[:, keep], batch.gt[:, keep]
        drawn = torch.cat([torch.randint(0, LEVELS, (1,), generator=draw) for draw in generators(batch)])
        shares = (drawn.to(worse.device, worse.dtype) / LEVELS).view(-1, 1, 1, 1, 1)
        target = blend(worse, truth, shares).flatten(0, 1)
        prediction = network(worse.flatten(0, 1), target).float()
        squares = (prediction - target).square().mean(dim=(1, 2, 3)).unflatten(0, worse.shape[:2])
        return SQUARES * (squares / (shares.flatten()[:, None] + LEAST_WEIGHT)).mean()

    def enhanced(self, network: nn.Module, lq: Tensor, gt: Tensor, pqf: Tensor, qp: Tensor) -> Tensor:
        assert isinstance(network, LatentAutoEncoder)
        return torch.cat([network(*pair) for pair in zip(lq.split(1), gt.split(1), strict=True)])


class ResidualPropagationTask(StageTask):
    """CRDS: the truth from the last latents, and for a first share of the run the blend of every level
    between from the latents of that level.
    """

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """λ L_I + L_M, then L_M alone; λ is `schedule.intermediate`."""
        assert isinstance(network, CRDS)
        schedule, keep = self.config.schedule, self.config.data.kept
        levels = network.latents(batch.lq, batch.pqf, batch.qp)
        prediction = network.decoded(batch.lq, levels[0], levels[-1], keep).flatten(0, 1).float()
        truth = batch.gt[:, keep].flatten(0, 1)
        loss = loss_at(share, prediction, truth, batch.errors[:, keep].flatten(), schedule)
        if not schedule.intermediate or share >= schedule.intermediate_share:
            return loss
        worse = batch.lq[:, keep].flatten(0, 1)
        if network.scale > 1:
            worse = F.interpolate(worse, size=truth.shape[-2:], mode="bicubic", align_corners=False)
        steps = len(levels) - 1
        for done, latents in enumerate(levels[1:-1], start=1):
            between = network.decoded(batch.lq, levels[0], latents, keep).flatten(0, 1).float()
            target = blend(worse, truth, 1 - done / steps)
            loss = loss + schedule.intermediate * SQUARES * F.mse_loss(between, target)
        return loss
