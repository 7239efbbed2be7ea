"""What is remembered of a decoded frame when its planes are gone: enough to decide about scenes, peaks and
chunks again, exactly as before, and to know the frame when it is decoded again.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from vqe_cli.documents import fits
from vqe_cli.restore.marking import thumbnail, thumbnail_difference
from vqe_cli.video.frame import Colour, Frame
from vqe_cli.video.reader import Entry, WrongEntry

NO_PLANES = (np.empty((0, 0), np.uint8),)

# What JSON has of a frame, by the places of `row_of`.
ROW: tuple[Any, ...] = (
    (int, None),
    (int, None),
    str,
    bool,
    (float, None),
    (float, None),
    int,
    (int, None),
    float,
    (int, None),
)


class FrameSummary(NamedTuple):
    """A frame, its thumbnail's difference to the one before (0 for duplicates), a checksum of its planes.

    The checksum is None where nobody asked for it.
    """

    frame: Frame
    difference: float
    checksum: int | None = None

    def without_planes(self) -> "FrameSummary":
        """The same, light."""
        return self._replace(frame=replace(self.frame, planes=NO_PLANES, side_data={}))


def measured(frames: Iterable[Frame], colour: Colour, checksums: bool = False) -> Iterator[FrameSummary]:
    """Each decoded frame with what later decisions need of its planes; colour: of the planes."""
    last: np.ndarray | None = None
    for frame in frames:
        difference = 0.0
        if last is None or frame.duplicate_of is None:
            current = thumbnail(frame.planes[1 if colour.matrix == "rgb" else 0], colour.bit_depth)
            difference = 0.0 if last is None else thumbnail_difference(last, current)
            last = current
        yield FrameSummary(frame, difference, checksum(frame.planes) if checksums else None)


def checksum(planes: Sequence[np.ndarray]) -> int:
    """CRC-32 over all planes."""
    total = 0
    for plane in planes:
        total = zlib.crc32(np.ascontiguousarray(plane).data, total)
    return total


def row_of(summary: FrameSummary) -> list[Any]:
    """A summary as what JSON can hold; its index is known by the row's place."""
    frame = summary.frame
    of_frame = [frame.pts, frame.duration, frame.kind, frame.irap, frame.qp, frame.network_qp, frame.sequence]
    return [*of_frame, frame.duplicate_of, summary.difference, summary.checksum]


def summary_of(index: int, row: Sequence[Any]) -> FrameSummary:
    """The opposite of `row_of`; raises ValueError for what is not such a row."""
    if len(row) != len(ROW) or not all(map(fits, row, ROW)):
        raise ValueError(f"frame {index} is not remembered as it should be")
    pts, duration, kind, irap, qp, network_qp, sequence, duplicate_of, difference, crc = row
    if duplicate_of is not None and not 0 <= duplicate_of < index:
        raise ValueError(f"frame {index} repeats frame {duplicate_of}")
    frame = Frame(
        index, NO_PLANES, pts, duration, kind, irap, qp, network_qp, sequence, duplicate_of=duplicate_of
    )
    return FrameSummary(frame, float(difference), crc)


def entry_before(remembered: Sequence[FrameSummary], index: int) -> Entry | None:
    """Where decoding may begin so that frame `index` comes out right, None for the beginning.

    remembered: frames up to `index` and beyond, in order.
    """
    first = remembered[0].frame.index
    for summary in reversed(remembered[: index - first + 1]):
        if summary.frame.irap and summary.frame.pts is not None:
            return Entry(summary.frame.index, summary.frame.pts)
    return None


def recalled(
    frames: Iterable[Frame], remembered: Sequence[FrameSummary], first: int, colour: Colour
) -> Iterator[FrameSummary]:
    """Frames decoded again, from `first` on, with all that is remembered of them; then new ones.

    frames: from `first` or earlier. remembered: in order, from `first` or earlier to beyond it. Raises
    WrongEntry where a frame is missing or its planes are not those remembered.
    """
    before: Frame | None = None
    expected = first
    known = {summary.frame.index: summary for summary in remembered if summary.frame.index >= first}
    for summary in measured(_relinked(frames, known, first), colour, checksums=True):
        if summary.frame.index != expected:
            raise WrongEntry
        old = known.get(expected)
        if old is not None and old.checksum != summary.checksum:
            raise WrongEntry
        yield summary if old is None else summary._replace(difference=old.difference)
        before, expected = summary.frame, expected + 1
    if before is None or (known and expected <= max(known)):
        raise WrongEntry


def _relinked(frames: Iterable[Frame], known: dict[int, FrameSummary], first: int) -> Iterator[Frame]:
    """Frames from `first` on: known ones as they are remembered, duplicates among the others found anew."""
    before: Frame | None = None
    for frame in frames:
        if frame.index < first:
            continue
        if frame.index in known:
            frame = replace(known[frame.index].frame, planes=frame.planes, side_data=frame.side_data)
        else:
            frame = replace(frame, duplicate_of=None).after(before)
        before = frame
        yield frame
