"""What can be learned: the flow network's task and that of the two stages, under one roof for the loop."""

from typing import Protocol

import torch
from torch import Tensor, nn

from vqe_cli.training.crds import LatentTask, ResidualPropagationTask
from vqe_cli.training.data import Batch, Pair
from vqe_cli.training.flow import FlowTask
from vqe_cli.training.gate import FrozenPipeline, GateTask
from vqe_cli.training.schema import TrainConfig
from vqe_cli.training.stage import StageTask
from vqe_cli.training.validation import Sheet
from vqe_cli.weights.load import load_stages
from vqe_cli.weights.registry import find


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
