"""One segment made by a process that knows nothing but its job."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from av.error import FFmpegError

from vqe_cli.errors import VqeError
from vqe_cli.restore.engine import Model
from vqe_cli.restore.ensemble import load_model
from vqe_cli.restore.handover import READ_AHEAD, WRITE_AHEAD, Clock, background, prefetched
from vqe_cli.runs.journal import Finished
from vqe_cli.runs.segments import Job, SegmentWriter, with_planes
from vqe_cli.runs.settings import Settings
from vqe_cli.video.frame import Frame
from vqe_cli.video.reader import WrongEntry
from vqe_cli.video.shipped import Shipped, unpacked
from vqe_cli.video.sources import open_reader
from vqe_cli.video.targets import write_error
from vqe_cli.video.unchanged import RESUME


class Worker:
    """Makes segments on one device; networks are loaded at the first and kept while jobs ask for the same."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._model: tuple[Settings, Model] | None = None

    def take(self, model: Model, settings: Settings) -> None:
        """Takes networks that were loaded by somebody else, for jobs with such settings."""
        self._model = (self._key(settings), model)

    def make(self, job: Job, progress: Callable[[int], None], shipped: Shipped | None = None) -> Finished:
        """Makes the segment; progress: called with the number of frames done, for each.

        shipped: packets to decode in place of the input, which is not there. Raises VqeError for what a user
        can cause; with shipped packets, WrongEntry where they do not give the frames.
        """
        if shipped is not None:
            with closing(unpacked(shipped)) as frames:
                return self._made(job, frames, progress)
        try:
            return self._make(job, progress)
        except WrongEntry:
            pass  # decoding may begin at the beginning only
        try:
            return self._make(replace(job, entry=None), progress)
        except WrongEntry as error:
            raise VqeError(f"{job.recipe.info.path} has changed while it was read.", RESUME) from error

    def _make(self, job: Job, progress: Callable[[int], None]) -> Finished:
        settings = job.recipe.settings
        with open_reader(
            settings.input, settings.hm_log, settings.start, settings.frames, entry=job.entry
        ) as reader:
            return self._made(job, reader, progress)

    def _made(self, job: Job, source: Iterable[Frame], progress: Callable[[int], None]) -> Finished:
        recipe, settings = job.recipe, job.recipe.settings
        model = self._loaded(settings)
        engine = model.start(settings, recipe.info.colour, (recipe.info.height, recipe.info.width))
        if engine.sizes != recipe.sizes:
            raise VqeError(
                f"{model.compute.name} would cut the video into other chunks and tiles than the first.",
                "Say --chunk, --overlap and --tile, so that the result does not depend on who makes it.",
            )
        done: list[Finished] = []
        with (
            written(SegmentWriter(recipe.coder, lambda number: job.file, done.append), job) as writer,
            prefetched(source, READ_AHEAD, Clock()) as frames,
            background(writer.write, WRITE_AHEAD, Clock()) as write,
        ):
            count = 0
            for chunk in with_planes(job.chunks, frames, job.checksums):
                for frame, planes in engine.enhanced([chunk]):
                    write((job.number, frame, planes))
                    count += 1
                    progress(count)
        return done[0]

    def _loaded(self, settings: Settings) -> Model:
        """The networks for these settings, which may be those of the job before."""
        key = self._key(settings)
        if self._model is None or self._model[0] != key:
            self._model = (key, load_model(key))
        return self._model[1]

    def _key(self, settings: Settings) -> Settings:
        """What networks depend on: the settings without the files."""
        return replace(settings, device=self._device, input=Path(), output=Path(), hm_log=None)


@contextmanager
def written(writer: SegmentWriter, job: Job) -> Iterator[SegmentWriter]:
    """The writer; its segment is complete when the block ends, and gone when it ends by an error."""
    try:
        yield writer
        writer.complete()
    except (OSError, FFmpegError) as error:
        raise write_error(error, job.file) from error
    finally:
        writer.discard()
