"""The pixel aspect ratio in Matroska files, for codecs whose own stream does not tell it.

FFmpeg's muxer writes it only where the stream (not its codec) has one, and PyAV cannot set that. So the
header is written with two place holders, the content light level, which are made into DisplayWidth and
DisplayHeight in place when the file is complete: all four elements take seven bytes. Numbers: RFC 9559,
sections 5.1.4.1.28.
"""

import struct
from fractions import Fraction
from pathlib import Path

COLOUR, MAX_CLL, MAX_FALL = b"\x55\xb0", b"\x55\xbc\x84", b"\x55\xbd\x84"
DISPLAY_WIDTH, DISPLAY_HEIGHT = b"\x54\xb0\x84", b"\x54\xba\x84"
UNKNOWN_UNIT, RATIO_UNIT = b"\x54\xb2\x81\x04", b"\x54\xb2\x81\x03"  # DisplayUnit
PLACE_HOLDER = 0xFEDCBA98
SIDE_DATA = {"CONTENT_LIGHT_LEVEL": struct.pack("=2I", PLACE_HOLDER, PLACE_HOLDER)}

# The header checksum would be wrong afterwards.
MUXER_OPTIONS = {"write_crc32": "0"}

HEADER_BYTES = 1 << 20


def fill_in(path: Path, size: tuple[int, int], aspect: Fraction) -> None:
    """Turns the place holders of a complete file into `size` (width, height) seen with pixels of `aspect`."""
    width = size[0] * aspect
    shape = struct.pack(">I", width.numerator), struct.pack(">I", size[1] * width.denominator)
    value = struct.pack(">I", PLACE_HOLDER)
    holders = MAX_CLL + value + MAX_FALL + value
    with path.open("r+b") as file:
        header = bytearray(file.read(HEADER_BYTES))
        at = header.find(holders)
        colour = header.rfind(COLOUR, 0, max(at, 0))
        unit = header.rfind(UNKNOWN_UNIT, 0, max(colour, 0))
        # Colour has a size of one byte, and the place holders are its last children: it shrinks by them.
        assert header[colour + 2] == 0x80 | (at + len(holders) - colour - 3), "FFmpeg's muxer has changed"
        header[colour + 2] -= len(holders)
        header[at : at + len(holders)] = DISPLAY_WIDTH + shape[0] + DISPLAY_HEIGHT + shape[1]
        if unit >= 0:  # WebM has no units but pixels
            header[unit : unit + len(UNKNOWN_UNIT)] = RATIO_UNIT
        file.seek(0)
        file.write(header)
