"""A folder that is watched: videos that arrive and have stopped growing are enhanced, one after the other."""

import os
from collections import Counter
from pathlib import Path
from time import sleep
from typing import NoReturn, TypeAlias

from vqe_cli.errors import VqeError
from vqe_cli.files import write_error
from vqe_cli.restore.ensemble import load_model
from vqe_cli.runs.folder import (
    FileJob,
    Started,
    Watcher,
    check_folders,
    clash,
    enhanced,
    failed,
    file_job,
    looked_at,
)
from vqe_cli.runs.manifest import Manifest
from vqe_cli.runs.report import Listener
from vqe_cli.runs.run import Restorer
from vqe_cli.runs.settings import Settings
from vqe_cli.runs.tree import files_below
from vqe_cli.video.sources import is_video

POLL_S = 2.0
# A file is complete when it was the same so many times in a row.
QUIET_POLLS = 3

State: TypeAlias = tuple[int, int]  # bytes, time of the last change in nanoseconds


class Arrivals:
    """Files below a folder that are new, or new again, and have stopped growing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._states: dict[Path, State] = {}
        self._quiet: Counter[Path] = Counter()  # polls without a change
        self._given: dict[Path, State] = {}

    @property
    def known(self) -> set[str]:
        """Real paths of all files that were there at the last look."""
        return {os.path.realpath(self._settings.input / relative) for relative in self._states}

    def look(self) -> list[Path]:
        """Looks once more; gives the files that are complete now, relative to the folder, each state once.

        Raises VqeError where a folder has vanished.
        """
        source, target = self._settings.input, self._settings.output
        for folder in (source, target):
            if not folder.is_dir():
                raise VqeError(f"the folder {folder} has vanished.", "Make it again, and watch it again.")
        states = {}
        for relative in files_below(source, self._settings.pattern, target):
            try:
                status = (source / relative).stat()
            except OSError:
                continue  # it has gone again
            states[relative] = (status.st_size, status.st_mtime_ns)
            same = self._states.get(relative) == states[relative]
            self._quiet[relative] = self._quiet[relative] + 1 if same else 1
        self._states = states
        complete = [
            relative
            for relative, state in sorted(states.items())
            if self._quiet[relative] >= QUIET_POLLS and state[0] and self._given.get(relative) != state
        ]
        self._given |= {relative: states[relative] for relative in complete}
        return [relative for relative in complete if is_video(source / relative)]


def watch_folder(settings: Settings, listen: Listener, watch: Watcher) -> NoReturn:
    """Enhance videos below the input folder as they arrive; never returns.

    listen: hears the events of each run. watch: hears which file begins, and each outcome, which goes into
    the manifest, too. A file that fails is reported, and tried again when it has changed.
    Raises VqeError for what concerns all files, and where a folder vanishes; KeyboardInterrupt passes
    through, what is finished stays.
    """
    check_folders(settings)
    model = load_model(settings.networks, empty=True)
    try:
        settings.output.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(error, settings.output) from error
    manifest, arrivals = Manifest(settings.output), Arrivals(settings)
    taken: dict[Path, str] = {}
    count = 0
    with Restorer() as restorer:
        while True:
            complete = arrivals.look()
            for position, relative in enumerate(complete):
                job = _decided(file_job(relative, settings), taken, arrivals.known)
                if job.outcome is None:
                    job = looked_at(job, model, manifest, settings.overwrite)
                count += 1
                outcome = job.outcome
                if outcome is None:
                    watch(Started(count, count + len(complete) - position - 1, job))
                    outcome = enhanced(job, manifest, restorer, listen)
                if outcome.status != "skipped":
                    manifest.add(outcome, None if job.plan is None else job.plan.fingerprint)
                watch(outcome)
            sleep(POLL_S)


def _decided(job: FileJob, taken: dict[Path, str], inputs: set[str]) -> FileJob:
    """The job, with its outcome where its output would be that of another file, or an input."""
    written = Path(job.output)
    owner = taken.setdefault(written, job.input)
    error = clash(job, owner if owner != job.input else None, inputs)
    return job if error is None else failed(job, error)
