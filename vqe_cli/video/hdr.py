"""What high dynamic range needs beside the samples: HDR10 metadata (mastering display, SMPTE ST 2086; content
light level, CTA-861.3) from FFmpeg's side data to encoders and containers, and profiles of Dolby Vision.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

# Encoders that take the metadata as parameters: under which option, and the names of the two.
PARAMETERS = {
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}


@dataclass(frozen=True)
class MasteringDisplay:
    """The display that a video was graded on."""

    red: tuple[Fraction, Fraction]
    """Of this primary x and y, CIE 1931; likewise of the others and of white."""

    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    minimum: Fraction
    """Luminance of black, cd/m²."""

    maximum: Fraction
    """Luminance of white, cd/m²."""


def mastering_display(side_data: Mapping[str, bytes]) -> MasteringDisplay | None:
    """The mastering display of a stream, None where it is incomplete (AVMasteringDisplayMetadata)."""
    data = side_data.get("MASTERING_DISPLAY_METADATA", b"")
    if len(data) < 88:
        return None
    numbers = struct.unpack_from("22i", data)
    has_primaries, has_luminance = numbers[20:22]
    if not has_primaries or not has_luminance or not all(numbers[1:20:2]):
        return None
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, minimum, maximum = (
        Fraction(numbers[at], numbers[at + 1]) for at in range(0, 20, 2)
    )
    return MasteringDisplay(
        (red_x, red_y), (green_x, green_y), (blue_x, blue_y), (white_x, white_y), minimum, maximum
    )


def content_light(side_data: Mapping[str, bytes]) -> tuple[int, int] | None:
    """(MaxCLL, MaxFALL) in cd/m², None where the stream does not tell (AVContentLightMetadata)."""
    data = side_data.get("CONTENT_LIGHT_LEVEL", b"")
    return struct.unpack_from("2I", data) if len(data) >= 8 else None


def encoder_parameters(codec: str, side_data: Mapping[str, bytes]) -> tuple[str, list[str]]:
    """The option of the encoder and the "name=value" parameters that write the metadata into the stream,
    maybe none.
    """
    if codec not in PARAMETERS:
        return "", []
    option, display_name, light_name = PARAMETERS[codec]
    parameters = []
    display = mastering_display(side_data)
    if display is not None:
        parameters.append(f"{display_name}={_display_text(display, exact=codec != 'libsvtav1')}")
    light = content_light(side_data)
    if light is not None:
        parameters.append(f"{light_name}={light[0]},{light[1]}")
    return option, parameters


def _display_text(display: MasteringDisplay, exact: bool) -> str:
    """G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min): in steps of 0.00002 and 0.0001 cd/m², or (exact False) as
    decimals.
    """

    def pair(one: Fraction, other: Fraction, steps: int) -> str:
        if exact:
            return f"({round(one * steps)},{round(other * steps)})"
        return f"({float(one):.5f},{float(other):.5f})"

    return (
        f"G{pair(*display.green, 50000)}B{pair(*display.blue, 50000)}R{pair(*display.red, 50000)}"
        f"WP{pair(*display.white, 50000)}L{pair(display.maximum, display.minimum, 10000)}"
    )


# --- HDR10 in the container's header, for codecs that cannot carry it in their own stream ---

# PyAV cannot attach such data to a new stream, but it copies what the stream of an opened file has. So a file
# that consists of nothing but the description of one stream is made in memory, opened, and used as the
# template. Element numbers: Matroska, RFC 9559, section 5.1.4.1.28; coding of elements: EBML, RFC 8794.
CODEC_IDS = {
    "libx265": "V_MPEGH/ISO/HEVC",
    "hevc_nvenc": "V_MPEGH/ISO/HEVC",
    "hevc_qsv": "V_MPEGH/ISO/HEVC",
    "hevc_videotoolbox": "V_MPEGH/ISO/HEVC",
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


# --- Dolby Vision that only Dolby's own conversion can show ---

# Profile 5 (and profile 10 of AV1 without a compatible base layer) holds no YUV but Dolby's IPT, reshaped by
# metadata of each picture: read as YUV it is green and purple. All other profiles have a base layer in HDR10,
# HLG or BT.709.
DOLBY_CODECS = ("hevc", "av1")
# Dolby Vision streams within the ISO base media file format, section 2.2: how the boxes are called.
DOLBY_BOXES = (b"dvcC", b"dvvC", b"dvwC")


def unshowable_profile(stream: VideoStream, side_data: Mapping[str, bytes]) -> int | None:
    """The number of such a profile, None for all other streams.

    side_data: of the first picture, by FFmpeg's names.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec not in DOLBY_CODECS:
        return None
    found = _configuration(stream)
    if found is not None:
        profile, compatible_with = found
        return profile if profile == 5 or (profile == 10 and compatible_with == 0) else None
    if not is_ipt(side_data.get("DOVI_METADATA", b"")):
        return None
    return 5 if codec == "hevc" else 10


def is_ipt(metadata: bytes) -> bool:
    """Whether FFmpeg's AVDOVIMetadata of a picture is that of a base layer in IPT: profile 0 of the picture's
    metadata with all codes in use, by which FFmpeg knows them as well.
    """
    if len(metadata) < struct.calcsize("N"):
        return False
    (header,) = struct.unpack_from("N", metadata)
    if len(metadata) < header + 11:
        return False
    profile, full_range = metadata[header + 4], metadata[header + 10]
    return profile == 0 and full_range == 1


def _configuration(stream: VideoStream) -> tuple[int, int] | None:
    """Profile and number of compatibility of the container's configuration record, None where it has none.

    PyAV does not show it, but FFmpeg's muxer writes it: the head of an MP4 file with this stream is written
    to memory.
    """
    memory = io.BytesIO()
    options = {"strict": "unofficial", "movflags": "empty_moov+frag_keyframe"}
    try:
        with av.open(memory, "w", format="mp4", options=options) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
            head = memory.getvalue()
    except (av.error.FFmpegError, ValueError):
        return None
    for box in DOLBY_BOXES:
        at = head.find(box)
        record = head[at + 4 : at + 9]
        if at >= 0 and len(record) == 5:
            return record[2] >> 1, record[4] >> 4
    return None
