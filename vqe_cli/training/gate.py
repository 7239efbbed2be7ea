"""What the mask network of a gated ensemble learns: where which of two frozen pipelines is right."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from vqe_cli.training.data import Batch, Pair, clip_rgb
from vqe_cli.training.schedule import loss_at
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.stage import CLIP_FRAMES, run_clip, run_network
from vqe_cli.training.validation import Sheet, cut_sheet, mean_gain, psnr
from vqe_cli.weights.registry import Pipeline


class FrozenPipeline:
    """A trained pipeline whose results are the material; networks: of its stages, on their device."""

    def __init__(self, pipeline: Pipeline, networks: Sequence[nn.Module]) -> None:
        self.pipeline = pipeline
        self.networks = networks

    @torch.no_grad()
    def batch(self, batch: Batch) -> Tensor:
        """Its results (N*T, 3, H, W) on the clips of a batch."""
        clip = batch.lq
        for network in self.networks:
            clip = run_network(network, replace(batch, lq=clip)).float().unflatten(0, batch.lq.shape[:2])
        return self._kept(batch.lq.flatten(0, 1), clip.flatten(0, 1), batch.qp.flatten())

    @torch.no_grad()
    def clip(self, lq: Tensor, pqf: Tensor, qp: Tensor) -> Tensor:
        """Its results (T, 3, H, W) on one clip."""
        clip = lq
        for network in self.networks:
            clip = run_clip(network, clip, pqf, qp).float()
        return self._kept(lq, clip, qp)

    def _kept(self, lq: Tensor, enhanced: Tensor, qp: Tensor) -> Tensor:
        """The share of the change that the pipeline keeps at each picture's QP."""
        levels = [None if level != level else level for level in qp.tolist()]
        shares = torch.tensor([self.pipeline.residual_scale_at(level) for level in levels], device=lq.device)
        return lq + shares[:, None, None, None] * (enhanced - lq)


class GateTask:
    """Two results of a compressed clip to the truth by their mask."""

    figure = "gain_over_mean_db"

    def __init__(self, config: TrainConfig, device: torch.device, members: Sequence[FrozenPipeline]) -> None:
        self.config = config
        self.device = device
        self.members = members
        # Results on the validation clips, which stay the same throughout the run.
        self.known: dict[tuple[str, str], list[Tensor]] = {}

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """The schedule's loss of the fused pictures."""
        first, second = (member.batch(batch) for member in self.members)
        fused = second + network(first, second) * (first - second)
        return loss_at(share, fused, batch.gt.flatten(0, 1), batch.errors.flatten(), self.config.schedule)

    @torch.inference_mode()
    def measure(self, network: nn.Module, pair: Pair) -> float:
        """Mean PSNR gain in dB over the plain mean of both results, which is where the training starts."""
        mean, fused, gt = self._fuse(network, pair)
        return mean_gain(fused, mean, gt)

    @torch.inference_mode()
    def sheet(self, network: nn.Module, pair: Pair) -> Sheet | None:
        """The frame that gains least over the mean."""
        mean, fused, gt = self._fuse(network, pair)
        worst = int((psnr(fused, gt) - psnr(mean, gt)).argmin())
        return cut_sheet(mean[worst], fused[worst], gt[worst])

    def _fuse(self, network: nn.Module, pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
        """(mean of the results, their fusion, truth), each (T, 3, H, W), of the frames that are measured."""
        key, window = (pair.recipe, pair.lq.name), slice(0, CLIP_FRAMES)
        step = slice(None, None, self.config.validation.frame_step)
        if key not in self.known:
            lq = clip_rgb(pair.lq, window, self.device)
            pqf = torch.from_numpy(pair.lq.pqf[window]).to(self.device)
            qp = torch.from_numpy(pair.lq.qp[window]).to(self.device)
            self.known[key] = [member.clip(lq, pqf, qp)[step].half() for member in self.members]
        first, second = (result.float() for result in self.known[key])
        gt = clip_rgb(pair.gt, window, self.device)[step]
        return (first + second) / 2, second + network(first, second) * (first - second), gt
