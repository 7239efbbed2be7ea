"""A folder of videos to the same tree of better ones: what cannot work is noticed before the first file, each
file goes through what a single file goes through, and a bad one does not stop the others.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from vqe_cli.errors import VqeError, unexpected
from vqe_cli.files import write_error
from vqe_cli.restore.engine import Model
from vqe_cli.restore.ensemble import chunks_stand_alone, load_model
from vqe_cli.runs.manifest import Manifest, Outcome
from vqe_cli.runs.plan import Plan, plan
from vqe_cli.runs.report import Event, Listener, Progress, Summary
from vqe_cli.runs.run import Restorer
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.tree import videos_below, written_as
from vqe_cli.video.estimates import amount
from vqe_cli.video.targets import MUXERS, existing_folder, refuse_standard_output

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class FileJob:
    """A file of the folder."""

    settings: Settings
    """Of its run."""

    input: str
    """Path relative to the input folder."""

    output: str
    """Path relative to the output folder."""

    plan: Plan | None = None
    """Of its run, where it can start."""

    outcome: Outcome | None = None
    """Where it is settled already: done before, or cannot work."""


@dataclass(frozen=True)
class Started:
    """File `number`, from 1, of `of` is being enhanced."""

    number: int
    of: int
    job: FileJob


Watcher: TypeAlias = Callable[[Started | Outcome], None]


def scan(settings: Settings) -> list[FileJob]:
    """All videos below the input folder with what is known of each before the first frame; writes nothing.

    Raises VqeError for what concerns all of them: the folders, the networks, the device, the disk.
    """
    source, target = settings.input, settings.output
    check_folders(settings)
    model = load_model(settings.networks, empty=True)
    manifest = Manifest(target)
    jobs: list[FileJob] = []
    taken: dict[Path, str] = {}
    found, closed = videos_below(source, settings.pattern, target)
    jobs += [failed(FileJob(settings, str(place), str(place)), error) for place, error in closed]
    inputs = {os.path.realpath(source / relative) for relative in found}
    for relative in found:
        job = file_job(relative, settings)
        written = Path(job.output)
        error = clash(job, taken.get(written), inputs)
        if error is not None:
            jobs.append(failed(job, error))
            continue
        taken[written] = job.input
        jobs.append(looked_at(job, model, manifest, settings.overwrite))
    _check_room(jobs, target)
    return jobs


def file_job(relative: Path, settings: Settings) -> FileJob:
    """What is to be done with a file of the folder."""
    written = written_as(relative, settings)
    source, target = settings.input / relative, settings.output / written
    return FileJob(
        replace(settings, input=source, output=target, overwrite=True), str(relative), str(written)
    )


def clash(job: FileJob, owner: str | None, inputs: set[str]) -> VqeError | None:
    """Why the job's output cannot be written: it is that of `owner`, another input, or one of the inputs."""
    if owner is None and os.path.realpath(job.settings.output) not in inputs:
        return None
    return _same_name(job, owner or "another input")


def enhance_folder(settings: Settings, listen: Listener, watch: Watcher) -> list[Outcome]:
    """Enhance all videos below the input folder that are not done yet; gives the outcome of each.

    listen: hears the events of each run. watch: hears which file begins, and each outcome. The outcomes of
    this run go into the manifest, too, as soon as they are known.
    Raises VqeError as `scan` does; KeyboardInterrupt passes through, what is finished stays.
    """
    jobs = scan(settings)
    try:
        settings.output.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(error, settings.output) from error
    manifest = Manifest(settings.output)
    outcomes = {number: job.outcome for number, job in enumerate(jobs) if job.outcome is not None}
    todo = [number for number, job in enumerate(jobs) if job.outcome is None]

    def settle(number: int, outcome: Outcome) -> None:
        outcomes[number] = outcome
        if outcome.status != "skipped":
            planned = jobs[number].plan
            manifest.add(outcome, None if planned is None else planned.fingerprint)
        watch(outcome)

    for number, known in list(outcomes.items()):
        settle(number, known)
    with Restorer() as restorer:

        def work(job: FileJob, hear: Listener) -> Outcome:
            return enhanced(job, manifest, restorer, hear)

        for number, outcome in _running(settings, [jobs[number] for number in todo], work, listen):
            if outcome is None:
                watch(Started(todo[number] + 1, len(jobs), jobs[todo[number]]))
            else:
                settle(todo[number], outcome)
    return [outcomes[number] for number in range(len(jobs))]


def _running(
    settings: Settings,
    jobs: Sequence[FileJob],
    work: Callable[[FileJob, Listener], Outcome],
    listen: Listener,
) -> Iterator[tuple[int, Outcome | None]]:
    """Enhances the files: (position, None) when one begins, (position, outcome) when it has ended.

    One after another, all workers on one file; with several workers as many files at a time, since short
    files keep one busy only.
    """
    count = settings.processes
    if count == 1 or not settings.segment or not chunks_stand_alone(settings.networks):
        for position, job in enumerate(jobs):
            yield position, None
            yield position, work(job, listen)
        return
    frames = [job.plan.summary.frames if job.plan else None for job in jobs]
    known = [each for each in frames if each is not None]
    together = Together(listen, sum(known) if len(known) == len(frames) else None)
    for position, event in side_by_side(work, jobs, count):
        if event is None or isinstance(event, Outcome):
            yield position, event
        else:
            together.hear(position, event)


def looked_at(job: FileJob, model: Model, manifest: Manifest, overwrite: bool) -> FileJob:
    """The job with its plan, and with its outcome where that is settled."""
    settings = job.settings
    try:
        planned = plan(settings, model, new_folder=True)
        state = manifest.state(job.input, job.output, planned.fingerprint)
        if state == "done":
            return replace(job, plan=planned, outcome=Outcome(job.input, job.output, "skipped"))
        if state != "missing" and not overwrite:
            raise _in_the_way(settings.output, changed=state == "changed")
    except Exception as error:  # whatever is wrong with it, the others are looked at
        return failed(job, error)
    return replace(job, settings=replace(job.settings, overwrite=overwrite), plan=planned)


def enhanced(job: FileJob, manifest: Manifest, restorer: Restorer, listen: Listener) -> Outcome:
    """Enhances one file, unless another run has done so meanwhile; what goes wrong with it is its outcome."""
    made: list[Path] = []
    try:
        if _done_meanwhile(job, manifest):
            return Outcome(job.input, job.output, "skipped")
        made += _make_folders(job.settings.output.parent)
        report = restorer.enhance(job.settings, listen)
    except Exception as error:
        _remove_empty(made)
        if _done_meanwhile(job, manifest):
            return Outcome(job.input, job.output, "skipped")
        outcome = failed(job, error).outcome
        assert outcome is not None
        return outcome
    except BaseException:
        _remove_empty(made)
        raise
    return Outcome(job.input, job.output, "done", report=report)


def _done_meanwhile(job: FileJob, manifest: Manifest) -> bool:
    """Whether another run on the same folders has finished the file since this one looked."""
    with suppress(VqeError):  # the manifest was read before; the next run says what has become of it
        manifest.refresh()
    return job.plan is not None and manifest.state(job.input, job.output, job.plan.fingerprint) == "done"


def failed(job: FileJob, error: Exception) -> FileJob:
    """The job with the error as its outcome; errors that are not the user's are named as such."""
    said = unexpected(error, "Enhance this file by itself")
    return replace(job, outcome=Outcome(job.input, job.output, "failed", said.message, said.remedy))


def check_folders(settings: Settings) -> None:
    """Raises VqeError where the tree cannot be written to the output, or an option is not for trees."""
    source, target = settings.input, settings.output
    if settings.hm_log is not None:
        raise VqeError("--hm-log belongs to one video, not to a folder.", "Enhance that video by itself.")
    refuse_standard_output(target)
    if not target.is_dir() and (target.exists() or target.suffix.lower() in MUXERS):
        raise VqeError(f"{target} is not a folder, but {source} is.", "Name a folder for the output, too.")
    if target.is_dir() and target.samefile(source):
        raise VqeError(f"{target} is the input folder itself.", "Choose another folder for the output.")
    if not target.absolute().parent.is_dir():
        raise VqeError(f"the folder {target.absolute().parent} does not exist.", "Make it first.")
    place = existing_folder(target.absolute())
    if not os.access(place, os.W_OK | os.X_OK):
        raise VqeError(f"the folder {place} cannot be written to.", "Choose another folder for the output.")


def _check_room(jobs: list[FileJob], target: Path) -> None:
    """Raises VqeError where the results together surely do not fit on the disk."""
    estimates = [job.plan.estimates for job in jobs if job.plan is not None and job.outcome is None]
    least = sum(found.room.low for found in estimates if found.room is not None)
    if estimates and least > estimates[0].free:
        raise VqeError(
            f"{target} will take at least {amount(least)}, and {amount(estimates[0].free)} are free there.",
            "Free some space, choose an output on another disk, or a higher --crf.",
        )


def _same_name(job: FileJob, other: str) -> VqeError:
    return VqeError(
        f"{job.settings.input} would be written to {job.settings.output}, as {other} is.",
        "Rename one of them.",
    )


def _in_the_way(output: Path, changed: bool) -> VqeError:
    if changed:
        return VqeError(
            f"{output} was made from another input or with other settings, or was changed since.",
            "Give --overwrite to make it again.",
        )
    return VqeError(f"{output} exists already and was not made here.", "Move it, or give --overwrite.")


def _make_folders(folder: Path) -> Iterator[Path]:
    """Makes a folder with its parents; gives those that are new, the innermost last."""
    if not folder.is_dir():
        yield from _make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        yield folder


def _remove_empty(folders: list[Path]) -> None:
    """Removes folders that were made for nothing."""
    for folder in reversed(folders):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def side_by_side(
    work: Callable[[T, Listener], U], items: Sequence[T], count: int
) -> Iterator[tuple[int, Event | U | None]]:
    """`work` on all items, `count` at a time: (position, None) when one begins, (position, event) of what it
    tells, (position, result) when it has ended.

    Whoever leaves early waits for nothing: the threads end with the program. `work` raises nothing.
    """
    events: queue.SimpleQueue[tuple[int, Event | U | None, bool]] = queue.SimpleQueue()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for position in range(len(items)):
        waiting.put(position)

    def teller(position: int) -> Listener:
        return lambda event: events.put((position, event, False))

    def run() -> None:
        while True:
            try:
                position = waiting.get_nowait()
            except queue.Empty:
                return
            events.put((position, None, False))
            events.put((position, work(items[position], teller(position)), True))

    for _ in range(min(count, len(items))):
        threading.Thread(target=run, name="vqe-file", daemon=True).start()
    left = len(items)
    while left:
        position, what, ended = events.get()
        left -= ended
        yield position, what


class Together:
    """The events of several files as those of one: frames are added up."""

    def __init__(self, listen: Listener, frames: int | None) -> None:
        self._listen, self._frames = listen, frames
        self._done: dict[int, int] = {}
        self._planned = False

    def hear(self, position: int, event: Event) -> None:
        """Passes on an event of the file at `position`; of all plans the first stands for the others."""
        if isinstance(event, Progress):
            self._done[position] = event.frames
            self._listen(Progress(sum(self._done.values()), self._frames))
        elif not isinstance(event, Summary):
            self._listen(event)
        elif not self._planned:
            self._planned = True
            self._listen(replace(event, frames=self._frames))
