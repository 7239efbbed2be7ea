"""A long video, segment by segment: what is finished stays finished, whatever ends the run.

One stream of decoded frames decides about scenes, peaks, chunks and so segments. Its planes go to the
networks here; or they are dropped, and workers decode each segment again where they work. A run that goes on
replays the decisions from what the journal remembers of the frames, and decodes from the first one needed.
"""

import errno
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from av.error import FFmpegError

from vqe_cli.errors import VqeError
from vqe_cli.pipeline_threads import READ_AHEAD, WRITE_AHEAD, Stopwatch, background, prefetched
from vqe_cli.restore.chunks import Chunk, Tally, decided_chunks, frames_held
from vqe_cli.restore.engine import Model
from vqe_cli.restore.summaries import FrameSummary, entry_before, measured, recalled
from vqe_cli.runs.journal import Journal
from vqe_cli.runs.plan import Input, Plan
from vqe_cli.runs.report import Notices, Progress, Report, Resumed, Took
from vqe_cli.runs.segments import SegmentJob, SegmentWriter, check_headers, coder_of, numbered, shown
from vqe_cli.runs.workers import Messages, WorkerMessage, WorkerPool
from vqe_cli.video.clock import Clock
from vqe_cli.video.frame import Frame
from vqe_cli.video.reader import Entry, WrongEntry
from vqe_cli.video.sources import FrameSource
from vqe_cli.video.targets import write_error

MIB = 2**20


class Run:
    """A run in segments: `Run(plan, input, journal, model, notices, began).complete(pool)`.

    model: the networks, without weights where a pool has them. began: when the run did, by
    `time.perf_counter`. Segments of earlier runs that are damaged are reported and made again.
    """

    def __init__(
        self, plan: Plan, input: Input, journal: Journal, model: Model, notices: Notices, began: float
    ) -> None:
        self.plan, self.input, self.journal, self.notices, self.began = plan, input, journal, notices, began
        self.model, self.engine = model, plan.start(model)
        self.decode, self.encode = Stopwatch(), Stopwatch()
        self.done = 0  # frames enhanced in this run
        self._input_read = False
        self._uses_entry = True
        for number in journal.verify():
            notices.add(f"segment {number} of the unfinished run is damaged and is made again")
        self.kept_frames = sum(segment.frames for segment in journal.finished.values())
        if journal.finished:
            notices.listen(Resumed(self.kept_frames, len(journal.finished)))

    def complete(self, pool: WorkerPool | None) -> Report:
        """Makes all segments that are missing, joins them and gives the report.

        Raises VqeError for all that a user can cause; what is finished stays.
        """
        work = self._by_ourselves if pool is None else lambda: self._by(pool)
        try:
            self._with_entry_or_without(work)
            return self._join()
        except (OSError, FFmpegError, VqeError) as error:
            failure = failed_writing(error, self.journal, self.plan.summary.frames)
            if failure is error:
                raise
            raise failure from error
        finally:
            self._report_losses()

    def _with_entry_or_without(self, work: Callable[[], None]) -> None:
        """Decoding begins in the middle where it may; where it gives other frames, at the beginning."""
        with self.input.unchanged.explaining():
            try:
                work()
            except WrongEntry:
                self._uses_entry = False
                try:
                    work()
                except WrongEntry as error:
                    raise VqeError(
                        f"{self.plan.info.path} does not give the same pictures twice.",
                        "Copy it to a disk of this machine, and begin anew with --restart.",
                    ) from error
        self.input.unchanged.check()

    def _frames(self, light: bool) -> Generator[FrameSummary, None, None]:
        """All frames, in order: those remembered without planes, then decoded ones (light: all without)."""
        journal, colour = self.journal, self.plan.info.colour
        remembered, entry = list(journal.remembered), None
        first = self.plan.source.start
        if remembered:
            last = remembered[-1].frame.index
            first = last if light else self._first_needed(remembered)
            entry = entry_before(remembered, first) if self._uses_entry else None
            yield from remembered[: first - remembered[0].frame.index]
        with self._reader(entry) as reader:
            if remembered:
                frames = recalled(reader, remembered, first, colour)
            else:
                frames = measured(reader, colour, checksums=True)
            for summary in frames:
                journal.remember(summary)
                yield summary.without_planes() if light else summary
            self.notices_of_reader = list(reader.warnings)

    def _reader(self, entry: Entry | None) -> FrameSource:
        """The input's own reader, where it has not been used and decoding begins at the beginning."""
        if entry is not None or self._input_read:
            return self.plan.source.open(entry)
        self._input_read = True
        return self.input.reader

    def _first_needed(self, remembered: list[FrameSummary]) -> int:
        """The first frame whose planes are needed: context of the first frame that is not finished."""
        start = remembered[0].frame.index
        index = min(self.journal.first_unfinished(start), remembered[-1].frame.index)
        for _ in range(frames_held(self.engine.sizes.chunks)):
            index -= 1
            while index > start and remembered[index - start].frame.duplicate_of is not None:
                index -= 1
        return max(start, index)

    def _segmented(self, frames: Iterable[FrameSummary]) -> Iterator[tuple[int, Chunk]]:
        """Chunks with the numbers of their segments; everything is counted anew."""
        plan = self.plan
        self.tally = Tally()
        self.timeline = Clock(plan.info, plan.source.is_part)

        def timed(frame: Frame) -> Frame:
            return replace(frame, pts=self.timeline.tick(frame))

        chunks = decided_chunks(frames, plan.peaks, self.engine.sizes.chunks, self.tally, timed)
        for number, chunk in numbered(chunks, plan.division.segment):
            self.tally.frames += shown(chunk)
            yield number, chunk

    def _by_ourselves(self) -> None:
        """Networks run here."""
        writer = SegmentWriter(coder_of(self.plan), self.journal.file_of, self.journal.finish)
        finished = frozenset(self.journal.finished)
        self._progress()
        try:
            with (
                closing(self._frames(light=False)) as summaries,
                prefetched(summaries, READ_AHEAD, self.decode) as frames,
                background(writer.write, WRITE_AHEAD, self.encode) as write,
            ):
                for number, chunk in self._segmented(frames):
                    if number in finished:
                        continue
                    for frame, planes in self.engine.enhanced([chunk]):
                        write((number, frame, planes))
                        self.done += 1
                        self._progress(segment=number)
            with self.encode.running():
                writer.complete()
        finally:
            writer.discard()

    def _by(self, pool: WorkerPool) -> None:
        """The workers make the segments; they have one job more than they can do at once."""
        messages: Messages = Messages()
        under_way: dict[int, int] = {}  # frames done, by segment
        finished = frozenset(self.journal.finished)
        self._progress()
        with (
            closing(self._frames(light=True)) as summaries,
            prefetched(summaries, READ_AHEAD, self.decode) as frames,
        ):
            for job in self._jobs(frames, finished):
                while len(under_way) > pool.size:
                    self._take(messages.get(), under_way)
                pool.submit(job, messages)
                under_way[job.number] = 0
        while under_way:
            self._take(messages.get(), under_way)

    def _take(self, message: WorkerMessage, under_way: dict[int, int]) -> None:
        if message.error is not None:
            raise message.error
        if message.finished is not None:
            self.journal.finish(message.finished)
            self.done += message.finished.frames
            del under_way[message.number]
        else:
            under_way[message.number] = message.frames
        self._progress(sum(under_way.values()), min(under_way, default=None))

    def _jobs(self, frames: Iterable[FrameSummary], finished: frozenset[int]) -> Iterator[SegmentJob]:
        """A job for each segment that is missing, as soon as all its chunks are known."""
        recent: list[FrameSummary] = []

        def remembering() -> Iterator[FrameSummary]:
            for summary in frames:
                recent.append(summary)
                yield summary

        for number, group in groupby(self._segmented(remembering()), key=lambda item: item[0]):
            chunks = tuple(chunk for _, chunk in group)
            first = min(chunk.frames[0].index for chunk in chunks)
            if number not in finished:
                yield self._job(number, chunks, recent)
            # What follows needs context of this segment, and the way there from a random access picture.
            entry = entry_before(recent, first)
            if entry is not None:
                del recent[: entry.index - recent[0].frame.index]

    def _job(self, number: int, chunks: tuple[Chunk, ...], recent: list[FrameSummary]) -> SegmentJob:
        first = min(chunk.frames[0].index for chunk in chunks)
        last = max(max(chunk.frames[-1].index, chunk.shown[-1][-1].index) for chunk in chunks)
        start = recent[0].frame.index
        needed = recent[first - start : last + 1 - start]
        checksums = {
            summary.frame.index: summary.checksum for summary in needed if summary.checksum is not None
        }
        entry = entry_before(recent, first) if self._uses_entry else None
        file = self.journal.file_of(number)
        return SegmentJob(self.plan, number, chunks, checksums, entry, needed[-1].frame.pts, file)

    def _progress(self, under_way: int = 0, segment: int | None = None) -> None:
        """Frames that are done; under_way: those of segments that are not finished."""
        done = self.kept_frames + self.done + under_way
        self.notices.listen(Progress(done, self.plan.summary.frames, segment))

    def _join(self) -> Report:
        """Copies the packets of all segments into the output and renames it."""
        journal, plan = self.journal, self.plan
        if not journal.finished:
            raise VqeError(f"{plan.source.path} has no frames to enhance.", "Check which part is asked for.")
        with self.encode.running():
            report: list[Report] = []

            def completed(aside: Path) -> None:
                self.input.unchanged.check()
                self.notices.add(*writer.warnings)
                report.append(self._report())
                journal.joined(aside, report[0])

            with plan.writer(completed) as writer:
                check_headers(journal.finished.values(), writer.header)
                self.notices.add(*writer.warnings)
                writer.join([journal.file_of(number) for number in sorted(journal.finished)], self.timeline)
        journal.remove()
        return report[0]

    def _report_losses(self) -> None:
        for segment in self.journal.finished.values():
            self.notices.add(*segment.warnings)

    def _report(self) -> Report:
        self._report_losses()
        self.notices.add(*self.notices_of_reader, *self.engine.warnings)
        wall = time.perf_counter() - self.began
        took = Took(self.decode.seconds, self.encode.seconds, wall)
        report = self.plan.report(self.model, self.engine, self.tally, took, self.notices.texts)
        return replace(report, fps=round(self.done / wall, 3), kept_frames=self.kept_frames)


def failed_writing(error: OSError | FFmpegError | VqeError, journal: Journal, frames: int | None) -> VqeError:
    """The error as a user should see it; frames: of the whole video, None when unknown."""
    if isinstance(error, VqeError) and getattr(error.__cause__, "errno", None) != errno.ENOSPC:
        return error
    if not isinstance(error, VqeError) and error.errno != errno.ENOSPC:
        return write_error(error, journal.folder)
    finished = journal.finished.values()
    kept = f"{len(finished)} finished segment{'' if len(finished) == 1 else 's'} are kept in {journal.folder}"
    done, size = sum(segment.frames for segment in finished), sum(segment.bytes for segment in finished)
    missing = ""
    if frames and done:
        # All segments, and the output beside them.
        needed = max(MIB, round(2 * size * frames / done) - size)
        missing = f"; about {needed / MIB:.0f} MiB more are needed"
    return VqeError(
        f"the disk is full; {kept}{missing}.", "Free some space and give the same command again to go on."
    )
