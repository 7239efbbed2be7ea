"""Loss and gradients of a step: by a copy of the network in the types that the device is fast in, and on a
CPU by its threads, each with a part of the batch; and which batch would fit where memory ends.
"""

import gc
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from vqe_cli.errors import VqeError, is_out_of_memory
from vqe_cli.restore.device import round_layers
from vqe_cli.training.data import Batch
from vqe_cli.training.distributed import World
from vqe_cli.training.tasks import Task

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Threads that compute side by side, each with one thread of OpenMP.

    Two threads that share every operation wait for each other hundreds of times a step, by spinning: on a
    machine that does other work besides, that takes as much time as the work itself.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.pool: ThreadPoolExecutor | None = None
        if count > 1:
            threads = torch.get_num_threads()
            self.pool = ThreadPoolExecutor(count, "part", single_threaded)
            started = threading.Barrier(count)
            for _ in self.pool.map(lambda _: started.wait(), range(count)):
                pass
            torch.set_num_threads(threads)

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterable[Result]:
        """The results in order; a single item is worked on by the caller's thread."""
        return map(work, items) if self.pool is None or len(items) == 1 else self.pool.map(work, items)


def single_threaded() -> None:
    """Make the calling thread compute alone.

    PyTorch keeps the number for threads to come as well, which take it over at their first operation or when
    they ask for it; who wants another number there sets it again.
    """
    torch.set_num_threads(1)
    torch.get_num_threads()


class Gradients:
    """Computes losses and leaves their gradients at the trained network's float32 parameters.

    With `bf16` a copy of the network computes, whose convolutions and linear layers are bfloat16; it is
    refreshed once a step, so that nothing is cast while computing, and steps too small for bfloat16 add up in
    the float32 weights. Every loss is a mean over a batch's clips, so that parts of a batch can be computed
    apart, and their gradients averaged.
    """

    def __init__(
        self, network: nn.Module, task: Task, device: torch.device, world: World, bf16: bool
    ) -> None:
        self.network = network
        self.task = task
        self.device = device
        self.world = world
        self.bf16 = bf16
        self.working = network
        if bf16:
            self.working = deepcopy(network)
            round_layers(self.working, torch.bfloat16)
        self.trained = [p for p in network.parameters() if p.requires_grad]
        self.computing = [p for p in self.working.parameters() if p.requires_grad]
        self.workers = Workers(torch.get_num_threads() if device.type == "cpu" else 1)

    def compute(self, batch: Batch, share: float) -> Tensor:
        """The loss at `share` (0 … 1) of the run, detached; its gradients are left at the parameters.

        They are the mean over all processes.
        """
        self.refresh()
        parts = batch.split(self.workers.count)
        results = list(self.workers.map(lambda part: self.part(part, share, len(batch.lq)), parts))
        self.leave([gradients for _, gradients in results])
        return torch.stack([loss for loss, _ in results]).sum()

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the copy up to date."""
        if self.bf16:
            torch._foreach_copy_(list(self.working.parameters()), list(self.network.parameters()))

    def loss(self, batch: Batch, share: float) -> Tensor:
        """The loss of a batch or a part of it, by the copy."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.task.loss(self.working, batch, share)

    def part(self, batch: Batch, share: float, of: int) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """What a part adds to the loss and the gradients of a batch of `of` clips."""
        loss = self.loss(batch, share) * (len(batch.lq) / of)
        return loss.detach(), self.derivatives(loss)

    def derivatives(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        """A loss's gradients at the copy's parameters that are trained; None where it does not depend on
        one."""
        return torch.autograd.grad(loss, self.computing, allow_unused=True)

    def leave(self, parts: Sequence[tuple[Tensor | None, ...]]) -> None:
        """Leave the sums of parts' gradients at the trained parameters, as the mean over all processes."""
        for parameter, *gradients in zip(self.trained, *parts, strict=True):
            parameter.grad = summed(parameter, gradients)
        self.world.average([p.grad for p in self.trained if p.grad is not None])


@torch.no_grad()
def summed(parameter: Tensor, parts: Sequence[Tensor | None]) -> Tensor | None:
    """The sum of the parts' gradients in a parameter's type and layout; None where no part depends on it."""
    total: Tensor | None = None
    for part in parts:
        if part is not None:
            total = torch.empty_like(parameter).copy_(part) if total is None else total.add_(part)
    return total


@contextmanager
def batch_advice(trial: Callable[[int], Tensor] | None, batch: int) -> Iterator[None]:
    """Turn running out of memory into the advice which batch fits.

    trial: runs a step's forward and backward pass with so many clips; None where that cannot be tried.
    batch: clips of the step that failed.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # The frames of the failed step would keep its activations alive.
        traceback.clear_frames(error.__traceback__)
        fits = batch // 2 if trial is None else largest_fitting(trial, batch - 1)
        remedy = (
            f"--set data.batch={fits} {'fits' if trial else 'may fit'}."
            if fits
            else "Not even one clip fits: lower data.crop or data.frames, or take a smaller network."
        )
        raise VqeError(f"out of memory with {batch} clips a step (data.batch).", remedy) from None


@contextmanager
def memory_advice(doing: str, remedy: str) -> Iterator[None]:
    """Turn running out of memory where no batch is at fault into a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise VqeError(f"out of memory while {doing}.", remedy) from None


def largest_fitting(trial: Callable[[int], Tensor], most: int) -> int:
    """The largest number of clips up to `most` that `trial` gets through, 0 for none."""
    fits, too_many = 0, most + 1
    while too_many - fits > 1:
        count = (fits + too_many) // 2
        free()
        try:
            trial(count)
            fits = count
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
            too_many = count
    free()
    return fits


def free() -> None:
    """Give unused memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
