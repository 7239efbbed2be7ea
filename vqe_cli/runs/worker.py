"""One segment made by a process that knows nothing but its job."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from av.error import FFmpegError

from vqe_cli.errors import VqeError
from vqe_cli.pipeline_threads import READ_AHEAD, WRITE_AHEAD, Stopwatch, background, prefetched
from vqe_cli.restore.choices import NetworkChoice
from vqe_cli.restore.engine import Model
from vqe_cli.restore.ensemble import load_model
from vqe_cli.runs.journal import Finished
from vqe_cli.runs.segments import SegmentJob, SegmentWriter, coder_of, with_planes
from vqe_cli.video.frame import Frame
from vqe_cli.video.reader import WrongEntry
from vqe_cli.video.sent_packets import SentPackets, decoded
from vqe_cli.video.sources import RESUME
from vqe_cli.video.targets import write_error


class Worker:
    """Makes segments on one device; networks are loaded at the first and kept while jobs ask for the same."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._model: tuple[NetworkChoice, Model] | None = None

    def take(self, model: Model, networks: NetworkChoice) -> None:
        """Takes networks that were loaded by somebody else, for jobs that ask for these."""
        self._model = (networks.on(self._device), model)

    def make(
        self, job: SegmentJob, progress: Callable[[int], None], packets: SentPackets | None = None
    ) -> Finished:
        """Makes the segment; progress: called with the number of frames done, for each.

        packets: what to decode in place of the input, which is not there. Raises VqeError for what a user
        can cause; with sent packets, WrongEntry where they do not give the frames.
        """
        if packets is not None:
            with closing(decoded(packets)) as frames:
                return self._made(job, frames, progress)
        try:
            return self._make(job, progress)
        except WrongEntry:
            pass  # decoding may begin at the beginning only
        try:
            return self._make(replace(job, entry=None), progress)
        except WrongEntry as error:
            raise VqeError(f"{job.plan.info.path} has changed while it was read.", RESUME) from error

    def _make(self, job: SegmentJob, progress: Callable[[int], None]) -> Finished:
        with job.plan.source.open(job.entry) as reader:
            return self._made(job, reader, progress)

    def _made(self, job: SegmentJob, source: Iterable[Frame], progress: Callable[[int], None]) -> Finished:
        model = self._loaded(job.plan.networks)
        engine = job.plan.start(model)
        if engine.sizes != job.plan.sizes:
            raise VqeError(
                f"{model.compute.name} would cut the video into other chunks and tiles than the first.",
                "Say --chunk, --overlap and --tile, so that the result does not depend on who makes it.",
            )
        done: list[Finished] = []
        with (
            written(SegmentWriter(coder_of(job.plan), lambda number: job.file, done.append), job) as writer,
            prefetched(source, READ_AHEAD, Stopwatch()) as frames,
            background(writer.write, WRITE_AHEAD, Stopwatch()) as write,
        ):
            count = 0
            for chunk in with_planes(job.chunks, frames, job.checksums):
                for frame, planes in engine.enhanced([chunk]):
                    write((job.number, frame, planes))
                    count += 1
                    progress(count)
        return done[0]

    def _loaded(self, networks: NetworkChoice) -> Model:
        """The networks on this worker's device, which may be those of the job before."""
        chosen = networks.on(self._device)
        if self._model is None or self._model[0] != chosen:
            self._model = (chosen, load_model(chosen))
        return self._model[1]


@contextmanager
def written(writer: SegmentWriter, job: SegmentJob) -> Iterator[SegmentWriter]:
    """The writer; its segment is complete when the block ends, and gone when it ends by an error."""
    try:
        yield writer
        writer.complete()
    except (OSError, FFmpegError) as error:
        raise write_error(error, job.file) from error
    finally:
        writer.discard()
