"""How a training looks: a progress bar on a terminal, plain lines elsewhere; all on stderr."""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn

from vqe_cli.cli.console import messages, plain_column, say
from vqe_cli.text import printable
from vqe_cli.training.progress import Progress as TrainingProgress

LINE_EVERY_S = 30.0


class TrainDisplay:
    """Shows what a run tells, and its notes on weights that fit in part. A context manager.

    quiet: nothing is shown. clock: gives seconds.
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        console = messages()
        self._quiet, self._clock = quiet, clock
        self._bar = Progress(
            plain_column("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.1f} %  {task.fields[figures]}"),
            console=console,
            disable=quiet or not console.is_terminal or console.is_dumb_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("decoding the clips", total=None, figures="")
        self._last_line = -LINE_EVERY_S
        self._origin: tuple[float, float, int] | None = None
        self._notes = _Notes(self._line)

    def __enter__(self) -> Self:
        logger = logging.getLogger("vqe.training")
        logger.addHandler(self._notes)
        logger.setLevel(logging.INFO)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("vqe.training").removeHandler(self._notes)
        self._bar.stop()

    def listen(self, progress: TrainingProgress) -> None:
        """Show the figures of a run."""
        if self._quiet:
            return
        now = self._clock()
        if self._origin is None or self._origin[2] != progress.phase_number:
            self._origin = now, progress.share, progress.phase_number
        figures = figures_line(progress, self._left_s(progress, now))
        name = phase_name(progress)
        self._bar.update(
            self._task, description=printable(name), total=1.0, completed=progress.share, figures=figures
        )
        if progress.gains is not None:
            self._line(f"{name} step {progress.step}: " + gains_line(progress.gains, progress.figure))
        elif self._bar.disable and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            say(f"{name} step {progress.step}, {100 * progress.share:.1f} %, {figures}")

    def _left_s(self, progress: TrainingProgress, now: float) -> float | None:
        """Seconds to the end of the phase, by the pace since it was first heard of."""
        assert self._origin is not None
        began, share, _ = self._origin
        if progress.share <= share or progress.share >= 1:
            return None
        return (now - began) * (1 - progress.share) / (progress.share - share)

    def _line(self, text: str) -> None:
        """A line above the bar."""
        if self._quiet:
            return
        if self._bar.disable:
            say(text)
        else:
            self._bar.console.print(printable(text))


class _Notes(logging.Handler):
    """Hands the training room's notes on."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())


def phase_name(progress: TrainingProgress) -> str:
    """Which part of the run this is."""
    return (
        f"phase {progress.phase_number}/{progress.phase_count} {progress.phase}".strip()
        if progress.phase_count > 1
        else "training"
    )


def figures_line(progress: TrainingProgress, left_s: float | None) -> str:
    """Loss, learning rate, speed and time left."""
    line = f"loss {progress.loss:.5f}  rate {progress.rate:.1e}  {progress.steps_per_s:.2f} it/s"
    if progress.waiting > 0.05:
        line += f"  waiting for data {100 * progress.waiting:.0f} %"
    if left_s is not None:
        left = max(0, round(left_s))
        line += f"  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
    return line


def gains_line(gains: dict[str, float], figure: str = "gain_db") -> str:
    """The figures of a validation, in dB: gains with their sign, all else with its name."""
    if figure == "gain_db":
        return ", ".join(f"{recipe} {gain:+.3f} dB" for recipe, gain in gains.items())
    name = figure.removesuffix("_db").replace("_", " ")
    return ", ".join(f"{recipe} {name} {level:.2f} dB" for recipe, level in gains.items())
