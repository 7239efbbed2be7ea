"""A stream of decoded frames to a stream of enhanced ones: scenes, peaks, chunks, networks in a row."""

from collections.abc import Iterable, Iterator

from vqe_cli.restore.chunks import Chunk, chunks
from vqe_cli.restore.engine import Enhancer, Planes
from vqe_cli.restore.peaks import PeakCount, mark_peaks
from vqe_cli.restore.scenes import scene_starts
from vqe_cli.restore.settings import Settings
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
    frames: Iterable[Frame], settings: Settings, engine: Enhancer, tally: Tally
) -> Iterator[tuple[Frame, Planes]]:
    """Decoded frames in display order to the same frames with enhanced planes, in the same order."""
    return engine.enhanced(scene_chunks(frames, settings, engine, tally))


def scene_chunks(
    frames: Iterable[Frame], settings: Settings, engine: Enhancer, tally: Tally
) -> Iterator[Chunk]:
    """Scenes told apart, peaks marked, chunks cut."""
    scenes = scene_starts(frames, engine.colour)
    marked = mark_peaks(scenes, settings, tally.peaks)
    return chunks(tally.counted(marked), engine.sizes.chunks)
