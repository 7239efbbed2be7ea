"""How a run of `enhance` looks: a progress bar on a terminal, plain lines elsewhere; all on stderr."""

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from vqe_cli.cli.console import messages, say
from vqe_cli.runs import report as events
from vqe_cli.text import printable

LINE_EVERY_S = 10.0


class Display:
    """Shows the events of a run. A context manager; `listen` takes the events.

    quiet: only warnings. clock: gives seconds, for the speed in plain lines.
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        console = messages()
        self._quiet, self._clock = quiet, clock
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.fields[of]} {task.fields[unit]}"),
            _Speed(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal or console.is_dumb_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("enhancing", total=None, of="?", unit="frames")
        self._chunk = 0  # frames after which the time left is shown, 0 where it was
        self._before: int | None = None  # frames that were there when this run began
        self._started = self._last_line = self._clock()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # the terminal may have been closed
            self._bar.stop()

    def listen(self, event: events.Event) -> None:
        """Show one event."""
        if isinstance(event, events.Notice):
            self._line(f"warning: {event.text}")
        elif self._quiet:
            return
        elif isinstance(event, events.Resumed):
            self._line(
                f"an unfinished run goes on: {event.frames} frames are there, in {event.segments} segments"
            )
        elif isinstance(event, events.Summary):
            self._started = self._last_line = self._clock()
            self._bar.reset(self._task, total=event.frames)
            self._bar.update(self._task, of=event.frames or "?")
            self._chunk, self._before = event.chunk, None
            self._line(plan_line(event))
        else:
            self._progress(event)

    def _progress(self, event: events.Progress) -> None:
        now = self._clock()
        self._bar.update(self._task, completed=event.frames)
        if self._before is None:
            self._before = event.frames - 1
        line = progress_line(event, now - self._started, self._before)
        if 0 < self._chunk <= event.frames - self._before:
            self._chunk = 0
            if event.total and event.frames < event.total:
                self._line(f"after the first chunk: {line}")
        if self._bar.disable and now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            say(line)

    def _line(self, text: str) -> None:
        """A line above the bar."""
        if self._bar.disable:
            say(text)
        else:
            self._bar.console.print(printable(text))


class _Speed(ProgressColumn):
    """Frames per second over the last while."""

    def render(self, task: Task) -> Text:
        speed = task.speed if task.fields["unit"] == "frames" else None
        return Text(f"{speed:.1f} fps" if speed else "")


def plan_line(plan: events.Summary) -> str:
    """What was chosen, sizes included: the automatic ones are part of what makes a result reproducible."""
    (width, height), (to_width, to_height) = plan.size_in, plan.size_out
    tiles = [
        f"tiles of {side} (overlap {overlap})" if side else "whole pictures" for side, overlap in plan.tiles
    ]
    turns = f", {plan.tta} turns" if plan.tta > 1 else ""
    context = f" with {plan.overlap} on each side" if plan.overlap else ""
    return (
        f"{plan.model} on {plan.device} in {plan.precision}: {width}x{height} to {to_width}x{to_height}, "
        f"chunks of {plan.chunk} frames{context}, {', then '.join(dict.fromkeys(tiles))}{turns}"
    )


def progress_line(event: events.Progress, seconds: float, before: int = 0) -> str:
    """Frames, speed and time left as a plain line; before: frames that were there when the clock started."""
    speed = (event.frames - before) / seconds if seconds > 0 else 0.0
    of = f" of {event.total}" if event.total else ""
    line = f"{event.frames}{of} frames, {speed:.1f} fps"
    if event.total and speed:
        left = max(0, round((event.total - event.frames) / speed))
        line += f", {left // 60}:{left % 60:02d} left"
    return line


def summary_line(report: events.Report) -> str:
    """What was done and where the time went."""
    parts = {
        "decode": report.seconds.decode,
        "stage I": report.seconds.stage_1,
        "stage II": report.seconds.stage_2,
        "encode": report.seconds.encode,
    }
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items() if seconds)
    return f"{report.output}: {report.frames} frames in {report.wall_s:.1f} s, {report.fps:.1f} fps ({spent})"
