"""What stage I and stage II learn: the clean pictures; measured as the PSNR gain over the compressed ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqe_cli.training.data import Batch, Pair, clip_rgb
from vqe_cli.training.schedule import loss_at
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.validation import Sheet, cut_sheet, mean_gain, psnr

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
