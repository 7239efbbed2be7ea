"""NAL units: cutting streams and packets into them, and reading the bits of their headers (H.265, 7.3.1, 9.2,
Annex B).
"""

from collections.abc import Iterator
from typing import NamedTuple


class HeaderError(Exception):
    """A header cannot be read: it ends too early, or a value lies outside what the standard allows.

    Never reaches a user: the parser turns it into an unknown QP and a warning.
    """


class BitReader:
    """A cursor over the raw byte sequence payload of a NAL unit (emulation prevention already removed).

    The bytes are held as one integer, which makes a read two shifts instead of a loop over bits.
    """

    __slots__ = ("length", "position", "value")

    def __init__(self, payload: bytes) -> None:
        self.value = int.from_bytes(payload, "big")
        self.length = 8 * len(payload)
        self.position = 0

    def u(self, count: int) -> int:
        """The next `count` bits as an unsigned number; raises HeaderError past the end."""
        end = self.position + count
        if end > self.length:
            raise HeaderError("the header ends too early")
        self.position = end
        return (self.value >> (self.length - end)) & ((1 << count) - 1)

    def flag(self) -> bool:
        """The next bit."""
        end = self.position + 1
        if end > self.length:
            raise HeaderError("the header ends too early")
        self.position = end
        return (self.value >> (self.length - end)) & 1 == 1

    def skip(self, count: int) -> None:
        """Passes over `count` bits."""
        self.position += count
        if self.position > self.length:
            raise HeaderError("the header ends too early")

    def ue(self, most: int, name: str) -> int:
        """An unsigned Exp-Golomb code (9.2); raises HeaderError above `most`, the largest value allowed."""
        left = self.length - self.position
        zeros = left - (self.value & ((1 << left) - 1)).bit_length()
        if zeros > 32 or 2 * zeros + 1 > left:
            raise HeaderError(f"{name} is not a code of the standard, or the header ends in it")
        value = self.u(2 * zeros + 1) - 1
        if value > most:
            raise HeaderError(f"{name} is {value}, more than {most}")
        return value

    def se(self, least: int, most: int, name: str) -> int:
        """A signed Exp-Golomb code (9.2.2); raises HeaderError outside `least` … `most`."""
        code = self.ue(2**32 - 2, name)
        value = (code + 1) >> 1 if code & 1 else -(code >> 1)
        if not least <= value <= most:
            raise HeaderError(f"{name} is {value}, outside {least} … {most}")
        return value

    def at_trailing_bits(self) -> bool:
        """True where only a 1 and zeros are left: rbsp_trailing_bits (7.3.2.11), and perhaps zero bytes."""
        left = self.length - self.position
        rest = self.value & ((1 << left) - 1)
        return rest != 0 and rest & (rest - 1) == 0 and rest.bit_length() == left


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
