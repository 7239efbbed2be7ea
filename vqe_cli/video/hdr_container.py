"""HDR10 metadata in the container's header, for codecs that cannot carry it in their own stream.

PyAV cannot attach such data to a new stream, but it copies what the stream of an opened file has. So a file
that consists of nothing but the description of one stream is made in memory, opened, and used as the
template. Element numbers: Matroska, RFC 9559, section 5.1.4.1.28; coding of elements: EBML, RFC 8794.
"""

import io
import struct
from collections.abc import Mapping

import av
from av.container import InputContainer

from vqe_cli.video.hdr import content_light, mastering_display

CODEC_IDS = {
    "libx265": "V_MPEGH/ISO/HEVC",
    "libx264": "V_MPEG4/ISO/AVC",
    "libsvtav1": "V_AV1",
    "libvpx-vp9": "V_VP9",
    "ffv1": "V_FFV1",
    "prores_ks": "V_PRORES",
}


def template(codec: str, side_data: Mapping[str, bytes]) -> InputContainer | None:
    """An opened file with one stream of that encoder's codec and the metadata; None where either is not
    known.
    """
    colour = _colour(side_data)
    if codec not in CODEC_IDS or not colour:
        return None
    return av.open(io.BytesIO(_matroska(CODEC_IDS[codec], colour)), "r", format="matroska")


def _colour(side_data: Mapping[str, bytes]) -> bytes:
    """The children of a Colour element."""
    light, display = content_light(side_data), mastering_display(side_data)
    parts = b""
    if light is not None:
        parts += _unsigned("55BC", light[0]) + _unsigned("55BD", light[1])
    if display is not None:
        corners = [*display.red, *display.green, *display.blue, *display.white]
        names = ["55D1", "55D2", "55D3", "55D4", "55D5", "55D6", "55D7", "55D8"]
        metadata = b"".join(_float(name, float(value)) for name, value in zip(names, corners, strict=True))
        metadata += _float("55D9", float(display.maximum)) + _float("55DA", float(display.minimum))
        parts += _element("55D0", metadata)
    return parts


def _matroska(codec_id: str, colour: bytes) -> bytes:
    """A Matroska file with one video track and no pictures."""
    video = _element("E0", _unsigned("B0", 16) + _unsigned("BA", 16) + _element("55B0", colour))
    track = _unsigned("D7", 1) + _unsigned("73C5", 1) + _unsigned("83", 1) + _text("86", codec_id) + video
    segment = _element("1549A966", _unsigned("2AD7B1", 1_000_000))
    segment += _element("1654AE6B", _element("AE", track)) + _element("1F43B675", _unsigned("E7", 0))
    head = _unsigned("4286", 1) + _unsigned("42F7", 1) + _text("4282", "matroska")
    return _element("1A45DFA3", head + _unsigned("4287", 4) + _unsigned("4285", 2)) + _element(
        "18538067", segment
    )


def _element(number: str, data: bytes) -> bytes:
    """An element: its number, its size in eight bytes (the first of which says that there are eight), its
    data.
    """
    return bytes.fromhex(number) + b"\x01" + len(data).to_bytes(7, "big") + data


def _unsigned(number: str, value: int) -> bytes:
    return _element(number, value.to_bytes(8, "big"))


def _float(number: str, value: float) -> bytes:
    return _element(number, struct.pack(">d", value))


def _text(number: str, value: str) -> bytes:
    return _element(number, value.encode("ascii"))
