"""What is finished of an interrupted run, joined into a file that can be played; the run may go on later."""

from dataclasses import dataclass, replace
from pathlib import Path

from vqe_cli.errors import VqeError
from vqe_cli.files import PART
from vqe_cli.runs.journal import Finished, Journal, claimed, is_begun
from vqe_cli.runs.plan import Input, Plan, plan
from vqe_cli.runs.segments import check_headers
from vqe_cli.runs.settings import Settings
from vqe_cli.video.clock import Clock
from vqe_cli.video.targets import Output, Target, place_beside, target_of
from vqe_cli.video.times import Times
from vqe_cli.video.writer import Writer


@dataclass(frozen=True)
class Joined:
    """What was joined."""

    output: Path
    """The file, or the folder of images."""

    frames: int
    """Frames in it, from the beginning of the run."""

    total: int | None
    """Frames of the whole run; None when unknown."""

    warnings: tuple[str, ...]
    """What could not be kept, and what is damaged, one sentence each."""


def finish(settings: Settings) -> Joined:
    """Joins the segments that are finished from the beginning on; the work folder stays as it is.

    The file lies beside the output, with ".part" before its suffix. Raises VqeError where nothing is
    finished, where the settings or the input are not those of the unfinished run, where that is running, and
    where the file exists already and may not be replaced.
    """
    if settings.is_piped:
        raise VqeError("a pipe keeps nothing that could be finished.", "Name a file for the output.")
    input = Input(settings)
    planned = plan(settings, input=input)
    if not is_begun(planned.folder):
        raise VqeError(
            f"there is no unfinished run of {settings.output}.", "Leave --finish out to begin one."
        )
    with claimed(planned.folder, settings.output):
        journal = Journal(planned.folder, planned.fingerprint)
        damaged = [f"segment {number} of the unfinished run is damaged" for number in journal.verify()]
        segments = from_the_beginning(journal)
        if not segments:
            raise VqeError(
                f"nothing is finished yet from the beginning of {settings.output} on.",
                "Leave --finish out to go on.",
            )
        frames = sum(segment.frames for segment in segments)
        clock = clock_of(planned, journal, frames)
        output = part_of(planned, clock)
        with Writer(output, planned.info, lambda aside: input.unchanged.check()) as writer:
            check_headers(segments, writer.header)
            writer.join([journal.file_of(segment.number) for segment in segments], clock)
    path = target_of(output.path).path
    return Joined(path, frames, planned.summary.frames, (*planned.warnings, *damaged, *writer.warnings))


def from_the_beginning(journal: Journal) -> list[Finished]:
    """The finished segments before the first one that is not."""
    segments: list[Finished] = []
    while len(segments) in journal.finished:
        segments.append(journal.finished[len(segments)])
    return segments


def clock_of(planned: Plan, journal: Journal, frames: int) -> Clock:
    """The clock of the run, which has seen that many frames and ends behind the last one."""
    clock = Clock(planned.info, planned.source.is_part, ends=True)
    for summary in journal.remembered[:frames]:
        clock.tick(summary.frame)
    return clock


def part_of(planned: Plan, clock: Clock) -> Output:
    """What is written: as the run's output, under another name, with chapters that end with the frames."""
    info, output = planned.info, planned.output
    times = output.times
    if times is not None or not output.part:
        stop = clock.end_s - float((info.start_pts or 0) * info.time_base)
        times = Times(times.start if times is not None else 0.0, stop)
    name = part_name(planned.written.target, output.path)
    return replace(output, path=name, encoding=planned.encoding, times=times)


def part_name(target: Target, output: Path) -> Path:
    """ "film.mkv" is "film.part.mkv"; images go to a folder of their own."""
    if target.kind != "images":
        return output.with_name(f"{output.stem}{PART}{output.suffix}")
    folder = place_beside(target.path) / f"{target.path.name}{PART}"
    folder.mkdir(exist_ok=True)
    return folder / target.pattern
