"""What can be learned: the clean pictures (stages I and II), the latents of CRDS, the mask of a gated
ensemble, and by `flow` the flow network; each with its loss and with what is measured while training.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.networks.crds import CRDS, LatentAutoEncoder
from vqe_cli.training.data import Batch, Pair, clip_rgb
from vqe_cli.training.flow import FlowTask, generators
from vqe_cli.training.schedule import SQUARES, loss_at
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.validation import Sheet, cut_sheet, mean_gain, psnr
from vqe_cli.weights.load import load_stages
from vqe_cli.weights.registry import Pipeline, find

# A video network is measured on so many frames from the start of each clip.
CLIP_FRAMES = 25


class StageTask:
    """Compressed clip (stage I, or both stages jointly), or what stage I made of it (stage II), to the
    truth."""

    figure = "gain_db"

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """Charbonnier or squared error of all frames that are learned from."""
        keep = self.config.data.kept
        prediction = run_network(network, batch, keep).float()
        gt, errors = batch.gt[:, keep].flatten(0, 1), batch.errors[:, keep].flatten()
        return loss_at(share, prediction, gt, errors, self.config.schedule)

    @torch.inference_mode()
    def measure(self, network: nn.Module, pair: Pair) -> float:
        """Mean PSNR gain in dB of a clip, enhanced against given."""
        given, enhanced, gt = self._enhance(network, pair)
        return mean_gain(enhanced, given, gt)

    @torch.inference_mode()
    def sheet(self, network: nn.Module, pair: Pair) -> Sheet | None:
        """The frame that gains least, where the output errs most."""
        given, enhanced, gt = self._enhance(network, pair)
        worst = int((psnr(enhanced, gt) - psnr(given, gt)).argmin())
        return cut_sheet(given[worst], enhanced[worst], gt[worst])

    def _enhance(self, network: nn.Module, pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
        """(given, enhanced, truth), each (T, 3, sH, sW), of the frames that are measured."""
        every = self.config.validation.frame_step
        window = slice(0, CLIP_FRAMES) if network.is_video else slice(None, None, every)
        lq, gt = clip_rgb(pair.lq, window, self.device), clip_rgb(pair.gt, window, self.device)
        qp = torch.from_numpy(pair.lq.qp[window]).to(self.device)
        pqf = torch.from_numpy(pair.lq.pqf[window]).to(self.device)
        enhanced = self.enhanced(network, lq, gt, pqf, qp).float()
        if gt.shape != lq.shape:
            lq = F.interpolate(lq, size=gt.shape[-2:], mode="bicubic", align_corners=False)
        return lq, enhanced, gt

    def enhanced(self, network: nn.Module, lq: Tensor, gt: Tensor, pqf: Tensor, qp: Tensor) -> Tensor:
        """What is measured against the truth gt (T, 3, sH, sW) of a clip lq (T, 3, H, W)."""
        return run_clip(network, lq, pqf, qp)


def run_network(network: nn.Module, batch: Batch, keep: slice = slice(None)) -> Tensor:
    """The pictures (N*K, 3, sH, sW) that a network makes of a batch's clips with their QPs and peaks, of the
    frames `keep`."""
    if network.is_video:
        return network(batch.lq, batch.pqf, batch.qp, keep).flatten(0, 1)
    batch = batch.at(keep)
    pictures = batch.lq.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return network(pictures, batch.qp.flatten())


def run_clip(network: nn.Module, clip: Tensor, pqf: Tensor, qp: Tensor) -> Tensor:
    """A network on one clip (T, 3, H, W); image networks frame by frame, which bounds the memory."""
    if network.is_video:
        return network(clip[None], pqf[None], qp[None])[0]
    return torch.cat([network(frame[None], level[None]) for frame, level in zip(clip, qp, strict=True)])


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


class Task(Protocol):
    """What is learned: the loss of a batch, and what is measured on the validation clips.

    figure: what `measure` gives, as logs and cards name it.
    """

    figure: str

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """The loss at `share` (0 … 1) of the run."""

    def measure(self, network: nn.Module, pair: Pair) -> float:
        """A figure in dB of a clip, more is better."""

    def sheet(self, network: nn.Module, pair: Pair) -> Sheet | None:
        """A picture of a clip, None where there is nothing to see."""


def channels_last(network: nn.Module, device: torch.device) -> nn.Module:
    """A network on a device, its convolutions in the layout that is fastest there.

    Not on a CPU for video networks: their many narrow convolutions and gathers lose 13 to 19 % by it.
    """
    if device.type == "cpu" and network.is_video:
        return network.to(device)
    return network.to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def task_of(config: TrainConfig, device: torch.device) -> Task:
    """The task that a config asks for."""
    if config.network.arch == "spynet":
        return FlowTask(config, device)
    if config.network.arch == "gate":
        pipelines = [find(name, 1) for name in config.data.members]
        members = [
            FrozenPipeline(pipeline, [channels_last(network, device) for network in load_stages(pipeline)])
            for pipeline in pipelines
        ]
        return GateTask(config, device, members)
    tasks = {"crds": ResidualPropagationTask, "latent_autoencoder": LatentTask}
    return tasks.get(config.network.arch, StageTask)(config, device)
