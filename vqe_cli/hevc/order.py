"""Which pictures are shown, and in which order, from headers alone.

The decoded picture buffer of H.265, C.5.2, is followed picture by picture ("bumping"): within a coded video
sequence this gives the order of the picture order counts, in bounded memory, and it tells which pictures are
lost where a sequence starts that drops what was not shown yet. Where a spliced stream's counts make no sense
it errs as decoders do.
"""

from collections.abc import Iterable, Iterator

from vqe_cli.hevc.picture import Picture, Retention

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

    __slots__ = ("latency", "picture", "poc", "referenced", "waiting")

    def __init__(self, picture: Picture, poc: int) -> None:
        self.picture, self.poc = picture, poc
        self.waiting, self.referenced, self.latency = picture.output, True, 0


class PictureBuffer:
    """The decoded picture buffer, without the pictures: coded pictures in, shown pictures out."""

    def __init__(self) -> None:
        self._held: list[_Held] = []
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
            self._held.clear()
            self._sequence = picture.sequence
        if picture.retention is not None and picture.poc is not None:
            self._retention, self._poc = picture.retention, picture.poc
            out += self._make_room(picture.retention)
        for held in self._held:
            held.latency += 1
        # A picture without a count of its own stays behind the one before it in coding order.
        self._held.append(_Held(picture, self._poc))
        while self._must_show():
            out.append(self._show_next())
        return out

    def finish(self) -> list[Picture]:
        """What is left when the stream ends, in display order."""
        out = []
        while any(held.waiting for held in self._held):
            out.append(self._show_next())
        return out

    def _make_room(self, retention: Retention) -> list[Picture]:
        """Drops what the next picture no longer refers to, and shows pictures until it fits (C.5.2.2)."""
        for held in self._held:
            kept = held.poc in retention.kept or held.poc % retention.lsb_range in retention.kept_lsbs
            held.referenced = held.referenced and kept
        self._drop_done()
        out = []
        while self._must_show() or (
            len(self._held) > retention.buffering and any(held.waiting for held in self._held)
        ):
            out.append(self._show_next())
            self._drop_done()
        return out

    def _drop_done(self) -> None:
        self._held = [held for held in self._held if held.waiting or held.referenced]

    def _must_show(self) -> bool:
        """True while more pictures wait than the SPS allows, or one has waited too long (C.5.2)."""
        bounds = self._retention
        waiting = [held.latency for held in self._held if held.waiting]
        if len(waiting) > bounds.reorder:
            return True
        return bounds.latency > 0 and any(late >= bounds.reorder + bounds.latency - 1 for late in waiting)

    def _show_next(self) -> Picture:
        first = min((held for held in self._held if held.waiting), key=lambda held: held.poc)
        first.waiting = False
        return first.picture
