"""Segments: parts of a video that are enhanced with their context, encoded by themselves, and joined by
copying packets. A worker makes one in a process that knows nothing but its job.

A segment consists of whole chunks, those that an undivided run would have; so its pictures are the same bit
for bit. It begins at a scene cut where there is one, else at a chunk.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from av.error import FFmpegError

from vqe_cli.errors import VqeError
from vqe_cli.pipeline_threads import READ_AHEAD, WRITE_AHEAD, Stopwatch, background, prefetched
from vqe_cli.restore.choices import NetworkChoice
from vqe_cli.restore.chunks import Chunk
from vqe_cli.restore.engine import Model, Planes
from vqe_cli.restore.ensemble import load_model
from vqe_cli.restore.summaries import checksum
from vqe_cli.runs.journal import Finished
from vqe_cli.runs.plan import Plan
from vqe_cli.video.coded import CodedFile
from vqe_cli.video.coders import Coder, new_coder
from vqe_cli.video.frame import Frame
from vqe_cli.video.reader import Entry, WrongEntry
from vqe_cli.video.sent_packets import SentPackets, decoded
from vqe_cli.video.sources import RESUME
from vqe_cli.video.targets import write_error


def numbered(chunks: Iterable[Chunk], size: int) -> Iterator[tuple[int, Chunk]]:
    """Each chunk with the number of its segment.

    size: most frames of a segment, unless one chunk has more. A scene cut ends a segment that is at least
    half as long, for there the encoder begins anew anyway.
    """
    number = count = 0
    for chunk in chunks:
        frames = shown(chunk)
        if count and (count + frames > size or (chunk.opens and 2 * count >= size)):
            number, count = number + 1, 0
        count += frames
        yield number, chunk


def shown(chunk: Chunk) -> int:
    """Frames that a chunk gives, duplicates included."""
    return sum(map(len, chunk.shown))


def coder_of(plan: Plan) -> Callable[[], Coder]:
    """What makes the encoder of a segment."""
    return lambda: new_coder(plan.written.target, plan.info, plan.encoding, plan.output.scale)


@dataclass(frozen=True)
class SegmentJob:
    """A segment to be made by somebody else."""

    plan: Plan
    """Of the whole run."""

    number: int
    """Of the segment, from 0."""

    chunks: tuple[Chunk, ...]
    """All of it, without planes."""

    checksums: Mapping[int, int]
    """CRC-32 of the planes of all frames in the chunks, by index."""

    entry: Entry | None
    """Where decoding begins; None for the beginning."""

    last_pts: int | None
    """Time of the last frame that is needed, ticks of the input's time base; None where unknown."""

    file: Path
    """Where the result goes."""

    @property
    def name(self) -> str:
        """The segment, for people."""
        first, last = self.chunks[0].shown[0][0].index, self.chunks[-1].shown[-1][-1].index
        return f"segment {self.number} (frames {first} to {last}) of {self.plan.info.path}"


def with_planes(
    chunks: Iterable[Chunk], frames: Iterator[Frame], checksums: Mapping[int, int]
) -> Iterator[Chunk]:
    """The chunks of a job with the planes of decoded frames, which begin with the first one or earlier.

    Raises WrongEntry where a frame is missing, or is not the one that was seen before.
    """
    held: dict[int, Frame] = {}
    newest = -1
    for chunk in chunks:
        last = max(chunk.frames[-1].index, chunk.shown[-1][-1].index)
        for frame in frames if newest < last else ():
            newest = frame.index
            if newest in checksums:
                if checksum(frame.planes) != checksums[newest]:
                    raise WrongEntry
                held[newest] = frame
            if newest >= last:
                break
        held = {index: frame for index, frame in held.items() if index >= chunk.frames[0].index}
        try:
            yield _filled(chunk, held)
        except KeyError as error:
            raise WrongEntry from error


def _filled(chunk: Chunk, held: Mapping[int, Frame]) -> Chunk:
    def fill(frame: Frame, of: Frame) -> Frame:
        return replace(frame, planes=held[of.index].planes, side_data=held[frame.index].side_data)

    return replace(
        chunk,
        frames=tuple(fill(frame, frame) for frame in chunk.frames),
        shown=tuple(tuple(fill(frame, group[0]) for frame in group) for group in chunk.shown),
    )


class SegmentWriter:
    """Encodes segments one after another; each is complete when the next one begins.

    coder: makes an encoder. file_of: where a segment goes. finished: called with each complete one. Raises
    OSError and FFmpegError when writing fails.
    """

    def __init__(
        self,
        coder: Callable[[], Coder],
        file_of: Callable[[int], Path],
        finished: Callable[[Finished], None],
    ) -> None:
        self._new_coder, self._file_of, self._finished = coder, file_of, finished
        self._coder: Coder | None = None
        self._file: CodedFile | None = None
        self._number = self._first = self._frames = 0

    def write(self, item: tuple[int, Frame, Planes]) -> None:
        """Takes a frame of the segment of that number, with its enhanced planes."""
        number, frame, planes = item
        if self._coder is None or number != self._number:
            self.complete()
            self._number, self._first, self._frames = number, frame.index, 0
            self._coder, self._file = self._new_coder(), CodedFile(self._file_of(number))
        assert self._file is not None
        for coded in self._coder.encode(planes, frame):
            self._file.add(coded)
        self._frames += 1

    def complete(self) -> None:
        """Ends the segment that was begun, if any."""
        if self._coder is None or self._file is None:
            return
        for coded in self._coder.flush():
            self._file.add(coded)
        self._file.complete()
        file, coder, self._coder, self._file = self._file, self._coder, None, None
        self._finished(
            Finished(
                self._number,
                self._first,
                self._frames,
                file.bytes,
                file.sha256,
                header_hash(coder.header),
                tuple(coder.warnings),
            )
        )

    def discard(self) -> None:
        """Forgets the segment that was begun, if any."""
        if self._file is not None:
            self._file.discard()
        self._coder = self._file = None


def header_hash(header: bytes) -> str:
    """By this headers are compared."""
    return hashlib.sha256(header).hexdigest()[:16]


def check_headers(segments: Iterable[Finished], header: bytes) -> None:
    """Raises VqeError unless all segments were coded as `header` says."""
    for segment in segments:
        if segment.header != header_hash(header):
            raise VqeError(
                f"segment {segment.number} was coded by an encoder that differs from the one here.",
                "All machines need the same PyAV and the same options. Begin anew with --restart.",
            )


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
