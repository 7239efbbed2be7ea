"""The processes of one run: alone, or several started by `torchrun` (one a GPU; gloo on the CPU)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vqe_cli.errors import VqeError

# A process may decode or measure for long while the others wait.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """Which of how many processes this is. control: the group through which they agree (CPU, by gloo)."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    control: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes the files and tells the progress."""
        return self.rank == 0

    def device(self, wanted: torch.device | None) -> torch.device:
        """The device of this process: the one wanted, else its own GPU, else the CPU."""
        if wanted is not None and (wanted.type != "cuda" or self.size == 1):
            return wanted
        if not torch.cuda.is_available():
            if wanted is not None:
                raise VqeError(f"there is no device {wanted}.", "Use --device cpu.")
            return torch.device("cpu")
        device = torch.device("cuda", self.local_rank)
        torch.cuda.set_device(device)
        return device

    def highest(self, values: list[float]) -> list[float]:
        """The elementwise maximum over all processes, the same in each."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.control)
        return tensor.tolist()

    def mean(self, value: float) -> float:
        """The mean over all processes."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(tensor, group=self.control)
        return float(tensor) / self.size

    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors on the device, alike in number and size everywhere, by their means."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        means = (flat / self.size).split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def gathered(self, part: dict[Any, Any]) -> dict[Any, Any]:
        """The union of what each process holds."""
        if self.size == 1:
            return part
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, part, group=self.control)
        return {key: value for one in parts for key, value in one.items()}


@contextmanager
def joined() -> Iterator[World]:
    """The world that torchrun's environment names; one process alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    # A program that set up its processes by itself keeps them.
    started = not dist.is_initialized()
    if started:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
        yield World(dist.get_rank(), size, int(os.environ.get("LOCAL_RANK", "0")), control)
    finally:
        if started:
            dist.destroy_process_group()
