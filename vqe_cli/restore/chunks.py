"""Frames to chunks: pieces of one scene that fit into memory, each with context that is thrown away
afterwards.

A recurrent network carries features from frame to frame, so a chunk brings `overlap` frames more on each
side than it keeps, and the nearest peak on each side where it is at most 2 x period away (SPEC section 5).
All chunks of a scene that is long enough span chunk + 2 * overlap frames: the first keeps its left end too,
and the last one is shifted back rather than left short. Duplicates are taken out before and come back as
further frames to show.

Memory: at most `frames_held(...)` distinct decoded frames are kept here, whatever the length of the video.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from vqe_cli.restore.choices import PeakRule
from vqe_cli.restore.marking import PeakCount, mark_peaks, scene_starts
from vqe_cli.restore.summaries import FrameSummary
from vqe_cli.video.frame import Frame

# Duplicates remembered for one picture; a longer standstill starts again with a picture that is computed
# anew.
LONGEST_STANDSTILL = 256


@dataclass(frozen=True)
class Chunk:
    """A stretch of one scene for the network, and what of it to keep."""

    frames: tuple[Frame, ...]
    """T distinct frames in display order."""

    start: int
    """Position in `frames` of the first kept one; those before are context."""

    stop: int
    """One past the position of the last kept one; those from there on are context."""

    shown: tuple[tuple[Frame, ...], ...]
    """For each kept frame, the frames that show its picture: itself, then its duplicates."""

    opens: bool = False
    """Whether it is the first chunk of its scene."""

    def __post_init__(self) -> None:
        assert 0 <= self.start < self.stop <= len(self.frames)
        assert len(self.shown) == self.stop - self.start


@dataclass(frozen=True)
class ChunkSizes:
    """How long chunks are.

    chunk: frames kept at a time, at least 1. overlap: context frames on each side, 0 for single-frame
    networks. period: of the peaks; those up to twice that far away belong to the context (0: none must).
    """

    chunk: int
    overlap: int
    period: int

    @property
    def window(self) -> int:
        """Frames of a chunk with its context, where the scene has as many and no peak asks for more."""
        return self.chunk + 2 * self.overlap

    @property
    def reach(self) -> int:
        """Most context frames on one side of a chunk that is not the last of its scene."""
        return max(self.overlap, 2 * self.period)


def frames_held(sizes: ChunkSizes) -> int:
    """Most distinct frames that `chunks` keeps at a time: left context, a chunk, its right context and the
    newest.
    """
    return max(sizes.window, sizes.reach) + sizes.chunk + sizes.reach + 1


def chunks(frames: Iterable[tuple[Frame, bool]], sizes: ChunkSizes) -> Iterator[Chunk]:
    """Chunks of a stream of (frame, starts a scene), whose kept frames are all frames once, in order.

    The peaks of the frames are marked already. A chunk is given as soon as its right context is there.
    """
    scene = _Scene(sizes)
    for frame, cut in frames:
        if not cut and scene.repeats(frame):
            scene.add_duplicate(frame)
            continue
        if cut:
            yield from scene.finish()
            scene = _Scene(sizes)
        scene.add(frame)
        yield from scene.ready()
    yield from scene.finish()


def context(marks: Sequence[bool], start: int, stop: int, sizes: ChunkSizes) -> tuple[int, int]:
    """First and one past last frame that a chunk keeping start … stop needs; marks: peaks of the scene.

    The network looks for peaks at distance two or more (SPEC section 4) and has the neighbour at one
    anyway, so the nearest peak at either distance is brought in.
    """
    first, last = start - sizes.overlap, stop - 1 + sizes.overlap
    for nearest in (1, 2):
        left = range(start - nearest, start - 2 * sizes.period - 1, -1)
        right = range(stop - 1 + nearest, stop + 2 * sizes.period)
        first = min([first, *[t for t in left if t >= 0 and marks[t]][:1]])
        last = max([last, *[t for t in right if t < len(marks) and marks[t]][:1]])
    return max(first, 0), min(last + 1, len(marks))


class _Scene:
    """The frames of the current scene that may still be needed.

    Positions count the frames in `shown`, so they move when its head is forgotten.
    """

    def __init__(self, sizes: ChunkSizes) -> None:
        self.sizes = sizes
        self.shown: list[list[Frame]] = []  # each distinct frame and its duplicates
        self.next = 0  # position of the first frame that no chunk has kept
        self.at_start = True  # no chunk of the scene was given yet

    def repeats(self, frame: Frame) -> bool:
        """Whether the frame shows the picture of the last one and may be kept with it."""
        return (
            frame.duplicate_of is not None
            and bool(self.shown)
            and frame.duplicate_of >= self.shown[-1][0].index
            and len(self.shown[-1]) <= LONGEST_STANDSTILL
        )

    def add(self, frame: Frame) -> None:
        self.shown.append([frame])

    def add_duplicate(self, frame: Frame) -> None:
        self.shown[-1].append(replace(frame, planes=self.shown[-1][0].planes))

    def ready(self) -> Iterator[Chunk]:
        """The next chunk, when its right context is there; the newest frame may still get duplicates."""
        stop = self._regular_stop()
        if len(self.shown) - 1 >= stop + self.sizes.reach:
            yield self._regular_chunk(stop)

    def finish(self) -> Iterator[Chunk]:
        """What is left when the scene has ended."""
        end = len(self.shown)
        while end > self.next and end > self._regular_stop() + self.sizes.overlap:
            yield self._regular_chunk(self._regular_stop())
            end = len(self.shown)
        if end > self.next:
            first, _ = context(self._marks(), self.next, end, self.sizes)
            yield self._chunk(end, max(0, min(first, end - self.sizes.window)), end)

    def _regular_stop(self) -> int:
        return self.next + self.sizes.chunk + (self.sizes.overlap if self.at_start else 0)

    def _regular_chunk(self, stop: int) -> Chunk:
        return self._chunk(stop, *context(self._marks(), self.next, stop, self.sizes))

    def _marks(self) -> list[bool]:
        return [group[0].pqf for group in self.shown]

    def _chunk(self, stop: int, first: int, last: int) -> Chunk:
        """The chunk that keeps self.next … stop and spans first … last; forgets what no later chunk needs."""
        chunk = Chunk(
            tuple(group[0] for group in self.shown[first:last]),
            self.next - first,
            stop - first,
            tuple(tuple(group) for group in self.shown[self.next : stop]),
            self.at_start,
        )
        # The last chunk of a scene reaches back to end - window, and its end is stop + 1 or later.
        forgotten = max(0, min(stop + 1 - self.sizes.window, stop - self.sizes.reach))
        del self.shown[:forgotten]
        self.next = stop - forgotten
        self.at_start = False
        return chunk


class Tally:
    """What the frames that pass are counted as."""

    def __init__(self) -> None:
        self.frames = self.duplicates = self.scene_cuts = 0
        self.peaks = PeakCount()

    def counted(self, frames: Iterable[tuple[Frame, bool]]) -> Iterator[tuple[Frame, bool]]:
        """The same (frame, starts a scene)."""
        for frame, cut in frames:
            self.duplicates += frame.duplicate_of is not None
            self.scene_cuts += cut
            yield frame, cut


def decided_chunks(
    frames: Iterable[FrameSummary],
    peaks: PeakRule,
    sizes: ChunkSizes,
    tally: Tally,
    timed: Callable[[Frame], Frame] = lambda frame: frame,
) -> Iterator[Chunk]:
    """Chunks of measured frames, whose planes are not looked at: scenes separated, peaks marked.

    timed: called with every frame in order, gives it with the time that it will be written with.
    """
    scenes = scene_starts((each.frame, each.difference) for each in frames)
    marked = mark_peaks(scenes, peaks, tally.peaks)
    ready = ((timed(frame), cut) for frame, cut in tally.counted(marked))
    return chunks(ready, sizes)
