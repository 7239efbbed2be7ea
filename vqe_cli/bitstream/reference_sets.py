"""Which earlier pictures a picture keeps: short-term reference picture sets (H.265, 7.3.7 and 7.4.8)."""

from collections.abc import Sequence
from typing import NamedTuple

from vqe_cli.bitstream.bits import BitReader, HeaderError

MOST_PICTURES = 16  # MaxDpbSize of the highest levels (A.4.2)


class ShortTermSet(NamedTuple):
    """A short-term reference picture set: POC distances, nearest first, and whether the picture itself uses
    each.

    before: negative distances (DeltaPocS0); after: positive ones (DeltaPocS1).
    """

    before: tuple[int, ...]
    before_used: tuple[bool, ...]
    after: tuple[int, ...]
    after_used: tuple[bool, ...]

    @property
    def used_count(self) -> int:
        """How many pictures of the set the current picture may refer to."""
        return sum(self.before_used) + sum(self.after_used)


EMPTY = ShortTermSet((), (), (), ())


def read_short_term_set(bits: BitReader, known: Sequence[ShortTermSet], in_slice: bool) -> ShortTermSet:
    """st_ref_pic_set(len(known)) (7.3.7); in_slice: it stands in a slice header, not in the SPS."""
    if known and bits.flag():
        return _predicted(bits, known, in_slice)
    before_count = bits.ue(MOST_PICTURES, "num_negative_pics")
    after_count = bits.ue(MOST_PICTURES - before_count, "num_positive_pics")
    before, before_used = _distances(bits, before_count, -1)
    after, after_used = _distances(bits, after_count, 1)
    return ShortTermSet(before, before_used, after, after_used)


def _distances(bits: BitReader, count: int, sign: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    distances: list[int] = []
    used: list[bool] = []
    distance = 0
    for _ in range(count):
        distance += sign * (bits.ue(2**15 - 1, "delta_poc_minus1") + 1)
        distances.append(distance)
        used.append(bits.flag())
    return tuple(distances), tuple(used)


def _predicted(bits: BitReader, known: Sequence[ShortTermSet], in_slice: bool) -> ShortTermSet:
    """A set coded as the difference to an earlier one (equations 7-59 … 7-62)."""
    back = bits.ue(len(known) - 1, "delta_idx_minus1") + 1 if in_slice else 1
    source = known[-back]
    negative = bits.flag()
    shift = bits.ue(2**15 - 1, "abs_delta_rps_minus1") + 1
    if negative:
        shift = -shift
    # The source's pictures in its own order, then the source's owner itself (distance 0).
    distances = (*source.before, *source.after, 0)
    used: list[bool] = []
    kept: list[bool] = []
    for _ in distances:
        used.append(bits.flag())
        kept.append(used[-1] or bits.flag())
    moved = [(d + shift, u) for d, u, k in zip(distances, used, kept, strict=True) if k]
    before = sorted(((d, u) for d, u in moved if d < 0), reverse=True)
    after = sorted((d, u) for d, u in moved if d > 0)
    if len(before) + len(after) > MOST_PICTURES:
        raise HeaderError(f"a reference picture set holds {len(before) + len(after)} pictures")
    return ShortTermSet(
        tuple(d for d, _ in before),
        tuple(u for _, u in before),
        tuple(d for d, _ in after),
        tuple(u for _, u in after),
    )
