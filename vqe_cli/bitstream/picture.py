"""What the headers of one coded picture say."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Retention(NamedTuple):
    """What a picture asks of the decoded picture buffer, needed where prior pictures may go unshown (C.5.2).

    starts_clean: pictures of earlier sequences that were not yet shown are dropped (NoOutputOfPriorPicsFlag).
    reorder, latency, buffering: the SPS's bounds (see `Sps`). kept: POCs of the pictures that stay for
    reference; kept_lsbs: the same for long-term pictures identified by least significant bits alone, modulo
    `lsb_range`.
    """

    starts_clean: bool
    reorder: int
    latency: int
    buffering: int
    kept: tuple[int, ...]
    kept_lsbs: tuple[int, ...]
    lsb_range: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One coded picture, known from its headers alone.

    poc: picture order count within its sequence, None when unknown. qp: SliceQpY of the first slice
    (7.4.7.1), -48 … 51, None when its header cannot be read. kind: "I", "P" or "B" of the first slice, "?"
    when unknown. irap: random access picture. nal_type: nal_unit_type of table 7-1. temporal_id: 0 … 6.
    sequence: counts coded video sequences, from 0. decode_index: counts decoded pictures in coding order, -1
    for those that a decoder skips. output: False for what is never shown: pic_output_flag 0, RASL pictures
    without their reference, pictures before the first random access picture. slice_qps: SliceQpY of each
    slice, dependent segments not counted. packet: counts the packets given to `PacketParser`, -1 for raw
    streams.
    """

    poc: int | None
    qp: int | None
    kind: str
    irap: bool
    nal_type: int
    temporal_id: int
    sequence: int
    decode_index: int
    output: bool
    slice_qps: tuple[int | None, ...] = ()
    packet: int = -1
    retention: Retention | None = field(default=None, repr=False, compare=False)

    @property
    def skipped(self) -> bool:
        """True for RASL pictures without their reference and pictures before the first random access picture.

        A decoder must not be given these: asked to show damaged pictures, too (`output_corrupt`), FFmpeg 8.1
        shows them and loses the random access picture behind them.
        """
        return self.decode_index < 0
