"""Which pictures are shown, and in which order, from headers alone.

The decoded picture buffer of H.265, C.5.2, is followed picture by picture ("bumping"): within a coded video
sequence this gives the order of the picture order counts, in bounded memory, and it tells which pictures are
lost where a sequence starts that drops what was not shown yet. Where a spliced stream's counts make no sense
it errs as decoders do.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from vqe_cli.bitstream.headers import Picture, Retention
from vqe_cli.bitstream.structures import MOST_PICTURES

# Before any header could be read nothing is known of reordering: show at once.
UNKNOWN_RETENTION = Retention(False, 0, 0, 0, (), (), 1)


def shown(pictures: Iterable[Picture]) -> list[Picture]:
    """The shown pictures in display order. pictures: all pictures of one stream in coding order."""
    return list(in_display_order(pictures))


def in_display_order(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Like `shown`, while the pictures come in: holds at most 17 of them."""
    buffer = PictureBuffer()
    for picture in pictures:
        yield from buffer.push(picture)
    yield from buffer.finish()


class _Held:
    """A decoded picture that waits to be shown or stays for reference."""

    __slots__ = ("latency", "picture", "poc", "referenced")

    def __init__(self, picture: Picture, poc: int) -> None:
        self.picture, self.poc, self.referenced, self.latency = picture, poc, True, 0


class PictureBuffer:
    """The decoded picture buffer, without the pictures: coded pictures in, shown pictures out.

    It never holds more than the largest buffer of the standard and the picture that came last, whatever the
    headers ask for, and where they cannot be read, so that none says what to drop.
    """

    def __init__(self) -> None:
        self._waiting: list[_Held] = []  # to be shown, in coding order
        self._kept: list[_Held] = []  # shown already (or never), for reference
        self._sequence = 0
        self._retention = UNKNOWN_RETENTION
        self._poc = 0

    def push(self, picture: Picture) -> list[Picture]:
        """Takes the next picture in coding order; the pictures that are shown now, in display order."""
        if picture.skipped:
            return []
        out: list[Picture] = []
        if picture.sequence != self._sequence:
            if picture.retention is None or not picture.retention.starts_clean:
                out += self.finish()
            self._waiting.clear()
            self._kept.clear()
            self._sequence = picture.sequence
        if picture.retention is not None and picture.poc is not None:
            self._retention, self._poc = picture.retention, picture.poc
            out += self._make_room(picture.retention)
        for held in self._waiting:
            held.latency += 1
        # A picture without a count of its own stays behind the one before it in coding order.
        (self._waiting if picture.output else self._kept).append(_Held(picture, self._poc))
        while self._must_show():
            out.append(self._show_next())
        if len(self._waiting) + len(self._kept) > MOST_PICTURES + 1:
            if not self._kept:
                out.append(self._show_next())
            del self._kept[0]
        return out

    def finish(self) -> list[Picture]:
        """What is left when the stream ends, in display order."""
        out = []
        while self._waiting:
            out.append(self._show_next())
        return out

    def _make_room(self, retention: Retention) -> list[Picture]:
        """Drops what the next picture no longer refers to, and shows pictures until it fits (C.5.2.2)."""
        for held in (*self._waiting, *self._kept):
            kept = held.poc in retention.kept or held.poc % retention.lsb_range in retention.kept_lsbs
            held.referenced = held.referenced and kept
        self._drop_done()
        out = []
        while self._must_show() or (
            self._waiting and len(self._waiting) + len(self._kept) > retention.buffering
        ):
            out.append(self._show_next())
            self._drop_done()
        return out

    def _drop_done(self) -> None:
        self._kept = [held for held in self._kept if held.referenced]

    def _must_show(self) -> bool:
        """True while more pictures wait than the SPS allows, or one has waited too long (C.5.2)."""
        bounds = self._retention
        if len(self._waiting) > bounds.reorder:
            return True
        longest = bounds.reorder + bounds.latency - 1
        return bounds.latency > 0 and any(held.latency >= longest for held in self._waiting)

    def _show_next(self) -> Picture:
        first = min(self._waiting, key=attrgetter("poc"))
        self._waiting.remove(first)
        self._kept.append(first)
        return first.picture
