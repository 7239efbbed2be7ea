"""Which pictures are shown, and in which order, from headers alone (H.265, C.5.2)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from vqe_cli.hevc.picture import Picture, Retention


def shown(pictures: Iterable[Picture]) -> list[Picture]:
    """The shown pictures in display order. pictures: all pictures of one stream in coding order."""
    return list(in_display_order(pictures))


def in_display_order(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Like `shown`, sequence by sequence: holds the records of two coded video sequences at a time."""
    earlier: list[Picture] = []
    for _, group in groupby(pictures, key=lambda picture: picture.sequence):
        coded = list(group)
        starts_clean = coded[0].retention is not None and coded[0].retention.starts_clean
        yield from shown_of_sequence(earlier, cut_short=starts_clean)
        earlier = coded
    yield from shown_of_sequence(earlier, cut_short=False)


def shown_of_sequence(coded: Sequence[Picture], cut_short: bool) -> list[Picture]:
    """The shown pictures of one coded video sequence in display order.

    coded: its pictures in coding order. cut_short: the next sequence drops what was not shown yet (a CRA picture
    after an end of sequence, or no_output_of_prior_pics_flag). A picture without POC stays behind the one before
    it in coding order.
    """
    keys: dict[int, tuple[int, int]] = {}
    last_known = -(2**31)
    for position, picture in enumerate(coded):
        if picture.poc is not None:
            last_known = picture.poc
        keys[id(picture)] = (last_known, position)
    dropped = _never_bumped(coded) if cut_short else set()
    listed = [picture for picture in coded if picture.output and id(picture) not in dropped]
    return sorted(listed, key=lambda picture: keys[id(picture)])


def _never_bumped(coded: Sequence[Picture]) -> set[int]:
    """The identities of pictures that still wait to be shown when the sequence's last picture was decoded."""
    held: list[_Held] = []
    for picture in coded:
        retention = picture.retention
        if picture.decode_index < 0 or retention is None or picture.poc is None:
            continue
        for entry in held:
            entry.referenced = entry.referenced and _keeps(retention, entry.poc)
        held = [entry for entry in held if entry.waiting or entry.referenced]
        while _must_show(held, retention) or (len(held) > retention.buffering and _any_waits(held)):
            _show_next(held)
            held = [entry for entry in held if entry.waiting or entry.referenced]
        for entry in held:
            entry.latency += 1
        held.append(_Held(picture, picture.poc))
        while _must_show(held, retention):
            _show_next(held)
    return {id(entry.picture) for entry in held if entry.waiting}


class _Held:
    """A picture in the decoded picture buffer."""

    __slots__ = ("latency", "picture", "poc", "referenced", "waiting")

    def __init__(self, picture: Picture, poc: int) -> None:
        self.picture, self.poc = picture, poc
        self.waiting, self.referenced, self.latency = picture.output, True, 0


def _keeps(retention: Retention, poc: int) -> bool:
    return poc in retention.kept or poc % retention.lsb_range in retention.kept_lsbs


def _any_waits(held: Sequence[_Held]) -> bool:
    return any(entry.waiting for entry in held)


def _must_show(held: Sequence[_Held], retention: Retention) -> bool:
    """The conditions of "bumping" that do not look at the buffer's fullness (C.5.2.2)."""
    waiting = [entry for entry in held if entry.waiting]
    if len(waiting) > retention.reorder:
        return True
    longest = retention.reorder + retention.latency - 1
    return retention.latency > 0 and any(entry.latency >= longest for entry in waiting)


def _show_next(held: Sequence[_Held]) -> None:
    min((entry for entry in held if entry.waiting), key=lambda entry: entry.poc).waiting = False
