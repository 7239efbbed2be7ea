"""The course of a run: learning rate and loss as functions of its progress (0 … 1), so that resuming cannot
drift; when it validates, writes a checkpoint and ends, by its steps or by the clock; and its interruption.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch.nn.functional as F
from torch import Tensor

from vqe_cli.networks.layers import charbonnier
from vqe_cli.training.distributed import World
from vqe_cli.training.schema import ScheduleConfig

# Squared error (50 dB) below which the "psnr" loss loses interest: pictures that are nearly perfect must not
# outweigh the others.
LEAST_ERROR = 1e-5
# Brings the gradient of the squared error to the size of the others' at errors of 0.025 (QP 37).
SQUARES = 20


def rate_at(progress: float, schedule: ScheduleConfig) -> float:
    """Learning rate: linear warm-up, then `restarts` equal cosine periods down to `final_rate`."""
    if progress < schedule.warmup:
        return schedule.rate * (0.02 + 0.98 * progress / schedule.warmup)
    position = (progress - schedule.warmup) / max(1e-9, 1 - schedule.warmup) * schedule.restarts
    phase = 1.0 if position >= schedule.restarts else position % 1.0
    return schedule.final_rate + (schedule.rate - schedule.final_rate) * 0.5 * (1 + math.cos(math.pi * phase))


def group_rate(progress: float, schedule: ScheduleConfig, part: str) -> float:
    """Learning rate of a part of the network: "flow" and "encoder" are frozen at first, "rest" is not, and
    the flow network's rate is lower."""
    if part == "flow":
        return 0.0 if progress < schedule.flow_frozen else schedule.flow_rate * rate_at(progress, schedule)
    if part == "encoder" and progress < schedule.encoder_frozen:
        return 0.0
    return rate_at(progress, schedule)


def loss_at(
    progress: float, prediction: Tensor, target: Tensor, errors: Tensor, schedule: ScheduleConfig
) -> Tensor:
    """The schedule's loss of crops (N, 3, H, W), then the squared error for the last `mse_share`.

    errors (N,): of the whole picture that each crop is from (`data.picture_errors`). A change of a picture's
    PSNR is one of its squared error relative to that.
    The factors bring the gradients of all three to the same size at errors of 0.025 (QP 37).
    """
    if progress >= 1 - schedule.mse_share:
        return SQUARES * F.mse_loss(prediction, target)
    if schedule.loss == "psnr":
        squares = (prediction - target).square().mean(dim=(1, 2, 3))
        return 0.0125 * (squares / (errors + LEAST_ERROR)).mean()
    return charbonnier(prediction, target)


CHECKPOINT_EVERY_S = 180.0
# Share of a run with a time budget after which a first validation shows how long one takes.
FIRST_VALIDATION = 0.1


@dataclass(frozen=True)
class Due:
    """What is due before a step; before a checkpoint the loss is reported, which shows whether it is worth
    writing."""

    share: float
    """Of the run that is done, 0 … 1."""
    report: bool
    """The figures since the last report."""
    save: bool
    """Write a checkpoint."""
    validate: bool
    """Measure on the validation clips."""
    stop: bool
    """End here, as asked from outside."""


class Clock:
    """Decides for all processes alike; what depends on time or on a signal is agreed on by them.

    With a time budget the share runs by the clock, and what the run must still do at its end (the longest
    validation and checkpoint so far) is kept back from the budget; a first validation soon shows how long one
    takes.
    """

    def __init__(
        self,
        world: World,
        stop: threading.Event,
        steps: int,
        budget_s: float | None,
        elapsed_s: float,
        validate_every_s: float,
    ) -> None:
        """budget_s: for training, validations and checkpoints together, None for no limit. elapsed_s: of
        training before this start."""
        self.world = world
        self.stop = stop
        self.steps = steps
        self.budget_s = budget_s
        self.longest_s = {"validation": 0.0, "checkpoint": 0.0}
        self.validate_every_s = validate_every_s
        self.origin = time.monotonic() - elapsed_s
        self.validated = self.saved = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Of training, over all starts."""
        return time.monotonic() - self.origin

    @property
    def reserve_s(self) -> float:
        """What the end will take, after the last step."""
        return 1.1 * sum(self.longest_s.values())

    def due(self, step: int, unreported: bool) -> Due:
        """What is due before step `step` (from 0); unreported: whether there are figures worth reporting."""
        now = time.monotonic()
        share = step / self.steps if self.steps else 1.0
        if self.budget_s is not None:
            share = self.elapsed_s / max(1.0, self.budget_s - self.reserve_s)
        validate, save = now - self.validated > self.validate_every_s, now - self.saved > CHECKPOINT_EVERY_S
        if self.budget_s is not None and not self.longest_s["validation"]:
            validate = validate or share >= FIRST_VALIDATION
        share, *flags = self.world.highest([share, unreported, validate, save, self.stop.is_set()])
        unreported, validate, save, stop = map(bool, flags)
        save = save or stop or share >= 1
        return Due(share, report=unreported or save, save=save, validate=validate, stop=stop)

    def validation_took(self, seconds: float) -> None:
        """Note a validation that has just ended."""
        self.validated = time.monotonic()
        self._note("validation", seconds)

    def checkpoint_took(self, seconds: float) -> None:
        """Note a checkpoint that has just been written."""
        self.saved = time.monotonic()
        self._note("checkpoint", seconds)

    def _note(self, what: str, seconds: float) -> None:
        self.longest_s[what] = max(self.longest_s[what], seconds)


class Interrupted(KeyboardInterrupt):
    """The run was stopped from outside after `step` steps; `checkpoint` has all that it needs to go on."""

    def __init__(self, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step
        self.checkpoint = checkpoint


@contextmanager
def watched() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C, SIGTERM or SIGHUP sets; a second one interrupts at once.

    Under torchrun, which hands every signal on to processes that the terminal has signalled, there is no
    second one. Outside the main thread, where signals do not arrive, the event is never set.
    """
    asked = threading.Event()
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set() and alone:
            raise KeyboardInterrupt
        asked.set()

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    before = {
        number: signal.signal(number, ask)
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN  # nohup
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
