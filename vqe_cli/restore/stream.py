"""A stream of decoded frames to a stream of enhanced ones: scenes, peaks, chunks, networks in a row."""

from collections.abc import Callable, Iterable, Iterator

from vqe_cli.restore.choices import PeakRule
from vqe_cli.restore.chunks import Chunk, chunks
from vqe_cli.restore.engine import Enhancer, Planes
from vqe_cli.restore.peaks import PeakCount, mark_peaks
from vqe_cli.restore.scenes import scene_starts
from vqe_cli.restore.sizes import Sizes
from vqe_cli.restore.summaries import FrameSummary, measured
from vqe_cli.video.frame import Frame


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


def enhanced_frames(
    frames: Iterable[Frame], peaks: PeakRule, engine: Enhancer, tally: Tally
) -> Iterator[tuple[Frame, Planes]]:
    """Decoded frames in display order to the same frames with enhanced planes, in the same order."""
    return engine.enhanced(scene_chunks(frames, peaks, engine, tally))


def scene_chunks(frames: Iterable[Frame], peaks: PeakRule, engine: Enhancer, tally: Tally) -> Iterator[Chunk]:
    """Scenes separated, peaks marked, chunks cut."""
    return decided_chunks(measured(frames, engine.colour), peaks, engine.sizes, tally)


def decided_chunks(
    frames: Iterable[FrameSummary],
    peaks: PeakRule,
    sizes: Sizes,
    tally: Tally,
    timed: Callable[[Frame], Frame] = lambda frame: frame,
) -> Iterator[Chunk]:
    """The same for measured frames, whose planes are not looked at.

    timed: called with every frame in order, gives it with the time that it will be written with.
    """
    scenes = scene_starts((seen.frame, seen.difference) for seen in frames)
    marked = mark_peaks(scenes, peaks, tally.peaks)
    ready = ((timed(frame), cut) for frame, cut in tally.counted(marked))
    return chunks(ready, sizes.chunks)
