"""What stage I and stage II learn: the clean pictures; measured as the PSNR gain over the compressed ones."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

import models
from vqe_cli.errors import VqeError
from vqe_cli.training import checkpoint, validation
from vqe_cli.training.config import TrainConfig
from vqe_cli.training.data import Batch, Pair
from vqe_cli.training.schedule import loss_at


class StageTask:
    """Compressed clip (stage I), or stage I's output (stage II), to the truth."""

    def __init__(self, config: TrainConfig, val: list[Pair], device: torch.device) -> None:
        self.config = config
        self.val = val
        self.device = device
        self.stage_one: nn.Module | None = None
        if config.data.input_stage:
            stage_one = load_frozen(Path(config.data.input_stage))
            self.stage_one = stage_one.to(device, memory_format=torch.channels_last)

    def loss(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        """Charbonnier or squared error of all frames of the batch."""
        clip, gt = batch.lq, batch.gt.flatten(0, 1)
        if self.stage_one is not None:
            with torch.no_grad():
                clip = run_network(self.stage_one, batch.lq, batch).view_as(batch.lq).float()
        prediction = run_network(network, clip, batch)
        return loss_at(share, prediction.float(), gt, self.config.schedule)

    def measure(self, network: nn.Module) -> dict[tuple[str, str], float]:
        """PSNR gain in dB of each (recipe, clip)."""
        return validation.gains(network, self.val, self.config.validation.frame_step, self.device, self.stage_one)


def run_network(network: nn.Module, clip: Tensor, batch: Batch) -> Tensor:
    """The pictures (N*T, 3, sH, sW) that a network makes of a clip (N, T, 3, H, W) with the batch's QPs and peaks."""
    if network.is_video:
        return network(clip, batch.pqf, batch.qp).flatten(0, 1)
    pictures = clip.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return network(pictures, batch.qp.flatten())


def load_frozen(path: Path) -> nn.Module:
    """A trained network from a file of `checkpoint.export`, for inference."""
    with safe_open(path, "pt") as file:
        header = json.loads((file.metadata() or {}).get("vqe", "{}"))
    if "arch" not in header:
        raise VqeError(f"{path} says no architecture.", "Name weights that train-stage exported.")
    network = models.build(header["arch"], header["config"])
    network.load_state_dict(checkpoint.read_weights(path))
    return network.eval().requires_grad_(False)
