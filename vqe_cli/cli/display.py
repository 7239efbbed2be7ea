"""How `enhance` looks: one run, a folder of them, a dry run.

Progress is a bar on a terminal and plain lines elsewhere, on stderr; what a dry run finds goes to stdout.
"""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import typer
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from vqe_cli.cli.console import messages, say, show, write_lines
from vqe_cli.cli.progress_json import JsonDisplay
from vqe_cli.restore.sizes import Need
from vqe_cli.runs import report as events
from vqe_cli.runs.folder import FileJob, Started, enhance_folder, scan
from vqe_cli.runs.manifest import Outcome
from vqe_cli.runs.plan import Plan
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.watch import watch_folder
from vqe_cli.text import command_line, printable
from vqe_cli.video.estimates import amount
from vqe_cli.video.pipes import STDOUT

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
    engine = " by OpenVINO" if plan.engine == "openvino" else ""
    strength = f", {plan.strength:g} % of the change" if plan.strength != 100 else ""
    context = f" with {plan.overlap} on each side" if plan.overlap else ""
    return (
        f"{plan.model} on {plan.device} in {plan.precision}{engine}: "
        f"{width}x{height} to {to_width}x{to_height}, "
        f"chunks of {plan.chunk} frames{context}, {', then '.join(dict.fromkeys(tiles))}{turns}"
        f"{strength}"
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


def plan_lines(found: Plan) -> list[str]:
    """Input, networks, what is written, memory; a line each, then warnings."""
    info = found.info
    seconds = f" ({info.duration_s:.1f} s)" if info.duration_s is not None else ""
    frames = found.summary.frames if found.summary.frames is not None else "an unknown number of"
    beside = len(info.streams) - 1
    copied = f", {beside} other stream{'s' if beside > 1 else ''}" if beside > 0 else ""
    return [
        f"reads    {info.path}: {info.codec} {info.width}x{info.height}, {frames} frames{seconds}{copied}",
        f"runs     {plan_line(found.summary)}",
        f"writes   {found.written.target.path}: {written_line(found)}{_free(found)}",
        f"takes    {', '.join(map(_need, found.estimates.needs))}",
        "time     is shown after the first chunk",
        *(f"warning: {text}" for text in found.warnings),
    ]


def written_line(found: Plan) -> str:
    """Codec, format, quality and size of what would be written."""
    written = found.written
    quality = f" at CRF {written.crf:g}" if written.crf is not None else ""
    room = found.estimates.room
    if room is None:
        return f"{written.codec} {written.pix_fmt}{quality}"
    low, high = amount(room.low), amount(room.high)
    size = high if low == high else f"{low} to {high}"
    return f"{written.codec} {written.pix_fmt}{quality}, {size}"


def _free(found: Plan) -> str:
    """What the disk has left; nothing of a pipe."""
    if found.written.target.path == STDOUT:
        return ""
    return f", {amount(found.estimates.free)} free"


def _need(need: Need) -> str:
    there = [
        f"{amount(count)} {word}"
        for count, word in ((need.free, "free"), (need.total, "in all"))
        if count is not None
    ]
    return f"about {amount(need.bytes)} of {need.where}" + (f" ({', '.join(there)})" if there else "")


class FolderDisplay(Display):
    """A bar of files above that of frames; without a terminal, a line for each file."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.outcomes: list[Outcome] = []
        self._files = self._bar.add_task("files", total=None, of="?", unit="files")

    def watch(self, event: Started | Outcome) -> None:
        """Show which file begins, and what came of it."""
        if isinstance(event, Started):
            self._bar.update(self._files, total=event.of, of=event.of)
            if not self._quiet:
                self._line(f"[{event.number}/{event.of}] {event.job.settings.input}")
            return
        self.outcomes.append(event)
        self._bar.update(self._files, completed=len(self.outcomes))
        if event.status == "failed":
            self._line(f"error: {event.input}: {event.error} {event.remedy}".rstrip())
        elif event.report is not None and not self._quiet:
            self._line(summary_line(event.report))


def enhance_tree(settings: Settings, json_file: Path | None, progress: str, watched: bool = False) -> None:
    """Enhance all videos of the folder; ends the command with exit code 1 where one failed.

    progress: "auto", "quiet" or "json". watched: go on with videos that arrive, until Ctrl-C.
    Raises VqeError for what concerns all of them.
    """
    display: JsonDisplay | FolderDisplay = FolderDisplay(progress == "quiet")
    if progress == "json":
        display = JsonDisplay(str(settings.input), settings.processes)
    with display:
        try:
            if watched:
                watch_folder(settings, display.listen, display.watch)
            outcomes = enhance_folder(settings, display.listen, display.watch)
        except BaseException as error:
            if json_file and display.outcomes:
                write_lines((outcome.as_dict() for outcome in display.outcomes), json_file)
            if isinstance(error, KeyboardInterrupt):
                again = command_line(["vqe", *sys.argv[1:]])
                say(f"{count_line(display.outcomes)}; the same command goes on: {again}")
            raise
    if progress == "auto":
        messages().print(outcome_table(outcomes))
        say(count_line(outcomes))
    if json_file:
        write_lines((outcome.as_dict() for outcome in outcomes), json_file)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def show_tree(settings: Settings, json_file: Path | None) -> None:
    """Print what would be done with each video of the folder; exit code 1 where one cannot be enhanced."""
    jobs = scan(settings)
    if str(json_file) != "-":
        for job in jobs:
            show(job_line(job))
    if json_file:
        write_lines((job_document(job) for job in jobs), json_file)
    if any(job.outcome is not None and job.outcome.status == "failed" for job in jobs):
        raise typer.Exit(1)


def job_line(job: FileJob) -> str:
    """One file of a dry run."""
    if job.outcome is None:
        assert job.plan is not None
        return f"{job.input} -> {job.output}: {written_line(job.plan)}"
    if job.outcome.status == "skipped":
        return f"{job.input} -> {job.output}: is done"
    return f"{job.input}: error: {job.outcome.error} {job.outcome.remedy}".rstrip()


def job_document(job: FileJob) -> dict[str, object]:
    """One file of a dry run, for JSON."""
    if job.outcome is not None:
        return job.outcome.as_dict()
    assert job.plan is not None
    return {"input": job.input, "output": job.output, "status": "planned", "forecast": job.plan.as_dict()}


def outcome_table(outcomes: list[Outcome]) -> Table:
    """A row for each file: state, frames, speed, name or what went wrong with it."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for name in ("state", "frames", "fps"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for outcome in outcomes:
        report = outcome.report
        numbers = (str(report.frames), f"{report.fps:.1f}") if report is not None else ("", "")
        shown = outcome.output if outcome.status != "failed" else f"{outcome.input}: {outcome.error}"
        table.add_row(outcome.status, *numbers, printable(shown))
    return table


def count_line(outcomes: list[Outcome]) -> str:
    """How many files came to which end."""
    counts = {
        state: sum(each.status == state for each in outcomes) for state in ("done", "skipped", "failed")
    }
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "done")
