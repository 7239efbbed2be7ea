"""NAL units: cutting streams and packets into them, and their two-byte header (H.265, 7.3.1, Annex B)."""

from collections.abc import Iterator
from typing import NamedTuple

from vqe_cli.bitstream.bits import HeaderError

START_CODE = b"\x00\x00\x01"

# How much of a NAL unit is kept: parameter sets and slice headers are far shorter, slice data is never read.
NAL_BYTES = 8192

RASL_N, RASL_R = 8, 9
BLA_W_LP, BLA_N_LP = 16, 18
IDR_W_RADL, IDR_N_LP, CRA = 19, 20, 21
LAST_VCL_IN_USE = 21
FIRST_RESERVED_VCL = 10  # 10 … 15 are reserved and to be ignored
VPS, SPS, PPS, END_OF_SEQUENCE, END_OF_BITSTREAM = 32, 33, 34, 36, 37


class NalHeader(NamedTuple):
    """nal_unit_type 0 … 63, nuh_layer_id 0 … 62, TemporalId 0 … 6 (7.4.2.2)."""

    nal_type: int
    layer_id: int
    temporal_id: int


def nal_header(nal: bytes) -> NalHeader | None:
    """The two-byte header of a NAL unit, or None where it is too short or breaks the standard."""
    if len(nal) < 2 or nal[0] & 0x80 or nal[1] & 7 == 0:
        return None
    return NalHeader(nal[0] >> 1, (nal[0] & 1) << 5 | nal[1] >> 3, (nal[1] & 7) - 1)


def is_slice(nal_type: int) -> bool:
    """True for slice segments of pictures that the standard defines."""
    return nal_type < FIRST_RESERVED_VCL or BLA_W_LP <= nal_type <= LAST_VCL_IN_USE


def is_irap(nal_type: int) -> bool:
    """True for BLA, IDR and CRA pictures: decoding can start there."""
    return BLA_W_LP <= nal_type <= LAST_VCL_IN_USE


def payload(nal: bytes, most: int = NAL_BYTES) -> bytes:
    """The first `most` bytes after the header, without emulation prevention bytes (7.3.1.1)."""
    raw = nal[2 : 2 + most]
    # Zeros cannot repeat within a NAL unit, so that one left-to-right replacement is the standard's loop.
    return raw.replace(b"\x00\x00\x03", b"\x00\x00") if b"\x00\x00\x03" in raw else raw


def annex_b(data: bytes) -> Iterator[bytes]:
    """The NAL units of a byte stream with start codes, each cut to NAL_BYTES."""
    start = data.find(START_CODE)
    while start >= 0:
        start += 3
        stop = data.find(START_CODE, start)
        yield data[start : min(stop if stop >= 0 else len(data), start + NAL_BYTES)]
        start = stop


def length_prefixed(data: bytes, length_size: int) -> Iterator[bytes]:
    """The NAL units of a packet as mp4 and Matroska store them (ISO/IEC 14496-15), each cut to NAL_BYTES.

    length_size: bytes of the length field, 1, 2 or 4. Raises HeaderError where a length points past the
    packet; the NAL unit that is cut short is still given first.
    """
    position = 0
    while position + length_size <= len(data):
        size = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        if size:
            yield data[position : position + min(size, NAL_BYTES)]
        position += size
    if position != len(data):
        raise HeaderError("a NAL unit's length points past the end of its packet")


class AnnexBSplitter:
    """Cuts a byte stream that comes in pieces into NAL units; holds at most NAL_BYTES and one piece."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, piece: bytes) -> list[bytes]:
        """The NAL units that end in this piece."""
        data = self._rest + piece
        start = data.rfind(START_CODE)
        if start < 0:
            self._rest = data[-2:]
            return []
        done = list(annex_b(data[:start]))
        rest = data[start:]
        if len(rest) > NAL_BYTES + 6:
            # Only its first bytes matter, and its last two may begin a start code; 0xFF keeps the halves
            # apart.
            rest = rest[: NAL_BYTES + 3] + b"\xff" + rest[-2:]
        self._rest = rest
        return done

    def finish(self) -> list[bytes]:
        """The last NAL unit."""
        rest, self._rest = self._rest, b""
        return list(annex_b(rest))
