"""When a run validates, writes a checkpoint, and ends: by its steps, or by the clock when it has a time
budget."""

import threading
import time
from dataclasses import dataclass

from vqe_cli.training.distributed import World

CHECKPOINT_EVERY_S = 180.0
# Share of a run with a time budget after which a first validation shows how long one takes.
REHEARSED = 0.1


@dataclass(frozen=True)
class Due:
    """What is due before a step. share: of the run that is done (0 … 1); the rest: what to do now.

    Before a checkpoint is written the loss is reported, which shows whether it is worth writing.
    """

    share: float
    tell: bool
    save: bool
    validate: bool
    stop: bool


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
        overhead_s: float,
        validate_every_s: float,
    ) -> None:
        """elapsed_s: of training before this start; overhead_s: what this start took until here."""
        self.world = world
        self.stop = stop
        self.steps = steps
        self.budget_s = budget_s
        self.overhead_s = overhead_s
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

    def due(self, step: int, untold: bool) -> Due:
        """What is due before step `step` (from 0); untold: whether there are figures worth telling."""
        now = time.monotonic()
        share = step / self.steps if self.steps else 1.0
        if self.budget_s is not None:
            share = self.elapsed_s / max(1.0, self.budget_s - self.overhead_s - self.reserve_s)
        validate, save = now - self.validated > self.validate_every_s, now - self.saved > CHECKPOINT_EVERY_S
        if self.budget_s is not None and not self.longest_s["validation"]:
            validate = validate or share >= REHEARSED
        share, *flags = self.world.highest([share, untold, validate, save, self.stop.is_set()])
        untold, validate, save, stop = map(bool, flags)
        save = save or stop or share >= 1
        return Due(share, tell=untold or save, save=save, validate=validate, stop=stop)

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
