"""What a run tells while it goes: figures every few steps, to a listener, a JSONL log and TensorBoard."""

import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from vqe_cli.documents import json_text
from vqe_cli.errors import VqeError

TELL_STEPS, TELL_S = 20, 10.0
Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """What a run reports while it goes."""

    step: int
    """Steps done."""
    share: float
    """Of the phase that is done, 0 … 1."""
    loss: float
    """Mean since the last report."""
    rate: float
    """Learning rate."""
    steps_per_s: float
    """Since the last report."""
    gains: dict[str, float] | None = None
    """By recipe, right after a validation; in dB."""
    figure: str = "gain_db"
    """What the gains are: "gain_db", or "warped_psnr_db" for a flow network."""
    waiting: float = 0.0
    """Share of the time in which no batch was ready."""
    minutes: float = 0.0
    """Of training so far."""
    phase: str = ""
    """Its name in a progressive run."""
    phase_number: int = 1
    """From 1."""
    phase_count: int = 1
    """How many phases there are."""


Listener = Callable[[Progress], None]


class Meter:
    """Loss, speed and waiting time since the last telling; reads the loss from the device only then."""

    def __init__(self) -> None:
        self.last = 0.0, 0.0, 0.0
        self.reset()

    def reset(self) -> None:
        self.since = time.monotonic()
        self.waited_s = 0.0
        self.losses: list[Tensor] = []

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, noting how long each was waited for."""
        iterator = iter(items)
        while True:
            asked = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self.waited_s += time.monotonic() - asked
            yield item

    def due(self) -> bool:
        """Whether there is enough to tell."""
        return len(self.losses) >= TELL_STEPS or (
            bool(self.losses) and time.monotonic() - self.since > TELL_S
        )

    def read(self) -> tuple[float, float, float]:
        """Mean loss, steps a second and the share of time spent waiting, the last ones when there was no
        step since; starts anew."""
        if self.losses:
            passed = max(1e-9, time.monotonic() - self.since)
            loss = sum(float(loss) for loss in self.losses) / len(self.losses)
            self.last = loss, len(self.losses) / passed, self.waited_s / passed
        self.reset()
        return self.last


class Journal:
    """`log.jsonl` of a run, one line a telling, `curve.jsonl`, one line a validation, and TensorBoard if
    installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.board: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"))

    def note(self, progress: Progress) -> None:
        """Write down what the run tells."""
        line = {
            "step": progress.step,
            "minutes": round(progress.minutes, 3),
            "loss": progress.loss,
            "rate": progress.rate,
            "steps_per_s": round(progress.steps_per_s, 3),
            "waiting": round(progress.waiting, 4),
        }
        self.append("log.jsonl", line)
        if self.board:
            for name in ("loss", "rate", "steps_per_s"):
                self.board.add_scalar(name, line[name], progress.step)

    def measured(
        self,
        step: int,
        minutes: float,
        figure: str,
        means: dict[str, float],
        clips: dict[tuple[str, str], float],
    ) -> None:
        """Write down a validation: what `figure` names, in dB, as the mean by recipe and for each clip."""
        line = {
            "minutes": round(minutes, 2),
            "step": step,
            figure: {recipe: round(gain, 4) for recipe, gain in means.items()},
            "clips": {f"{recipe}/{name}": round(gain, 4) for (recipe, name), gain in clips.items()},
        }
        self.append("curve.jsonl", line)
        if self.board:
            for recipe, gain in means.items():
                self.board.add_scalar(f"{figure}/{recipe}", gain, step)

    def append(self, name: str, line: dict[str, Any]) -> None:
        """One JSON document as a line of a file in the run's folder."""
        try:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(json_text(line) + "\n")
        except OSError as error:
            raise VqeError(
                f"cannot write {self.folder / name} ({error.strerror}).", "Free some room and use --resume."
            ) from error
