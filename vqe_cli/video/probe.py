"""What a file says of itself: containers and streams, without decoding more than the first picture."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Stream
from av.video.stream import VideoStream

from vqe_cli.bitstream.headers import Picture
from vqe_cli.bitstream.packets import PacketParser
from vqe_cli.bitstream.side_data import EXPORT_OPTION, frame_qp
from vqe_cli.errors import InputError
from vqe_cli.text import as_argument
from vqe_cli.video.estimates import check_decoding
from vqe_cli.video.formats import UNSPECIFIED, colour_of, sample_format
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.hdr import unshowable_profile
from vqe_cli.video.opening import open_input, reading, undecodable, video_stream
from vqe_cli.video.selection import tag

FIELD_ORDERS = {0: "unknown", 1: "progressive", 2: "tt", 3: "bb", 4: "tb", 5: "bt"}
INTERLACED = ("tt", "bb", "tb", "bt")

# Decoder flags (AVCodecContext.flags): show pictures whose reference was lost; crop to the very pixel.
OUTPUT_CORRUPT = 1 << 3
UNALIGNED = 1 << 0

# Side data of the first picture that describes the whole stream.
STREAM_SIDE_DATA = (
    "MASTERING_DISPLAY_METADATA",
    "CONTENT_LIGHT_LEVEL",
    "AMBIENT_VIEWING_ENVIRONMENT",
    "ICC_PROFILE",
)

# Pictures without a frame are looked for this far into a stream; past that, headers must do.
PROBE_PACKETS = 300


def probe(path: str | Path) -> VideoInfo:
    """What container and stream of `path` say, with the first picture decoded for what only it knows.

    Raises VqeError: missing, empty, not media, no video stream, no picture size, pixel format or matrix
    unsupported, pictures too large for the memory.
    """
    path = Path(path)
    with open_input(path) as container, reading(path):
        return probe_container(container, path)


def probe_container(container: InputContainer, path: Path) -> VideoInfo:
    """`probe` for a container that is open already; it is read from, so open it again before decoding."""
    stream = video_stream(container, path)
    check_decoding(path, stream.width, stream.height, stream.codec_context.pix_fmt)
    tags = _container_tags(stream)
    beginning = _beginning(container, stream)
    first = beginning.picture
    width, height = (first.width, first.height) if first else (stream.width, stream.height)
    pix_fmt = first.format.name if first else stream.codec_context.pix_fmt
    if not width or not height or not pix_fmt:
        raise undecodable(path)
    tags |= _picture_tags(first)
    if beginning.chroma_location:
        tags["chroma_location"] = beginning.chroma_location
    side_data = side_data_of(first)
    dolby_vision = unshowable_profile(stream, side_data)
    if dolby_vision is not None:
        tags["matrix"] = UNSPECIFIED  # there is none
    try:
        colour = colour_of(tags, height, pix_fmt, stream.codec_context.name)
    except ValueError as error:
        raise InputError(
            f"{path} cannot be enhanced: {error}.",
            remedy=f"Convert it first: ffmpeg -i {as_argument(path)} -pix_fmt yuv420p10le -c:v ffv1 "
            "CONVERTED.mkv",
        ) from error
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=stream.codec_context.name,
        width=width,
        height=height,
        pix_fmt=pix_fmt,
        colour=colour,
        rate=stream.average_rate or stream.guessed_rate or None,
        time_base=stream.time_base or Fraction(1, 90000),
        sample_aspect=stream.sample_aspect_ratio or None,  # FFmpeg: 0 where nothing says one
        start_pts=stream.start_time if stream.start_time is not None or first is None else first.pts,
        frame_count=stream.frames or None,
        duration_s=_duration_s(container, stream),
        field_order=_field_order(stream, first),
        tags=tags,
        rotation_deg=first.rotation if first else 0,
        display_matrix=tuple(
            int(each) for each in np.frombuffer(side_data.get("DISPLAYMATRIX", b""), np.int32)
        ),
        streams=tuple(_described(each) for each in container.streams),
        stream_index=stream.index,
        side_data={name: data for name, data in side_data.items() if name in STREAM_SIDE_DATA},
        first_qp=beginning.qp,
        transparent=sample_format(pix_fmt).alpha or tag(stream.metadata, "alpha_mode") == "1",
        dolby_vision=dolby_vision,
    )


@dataclass
class _Beginning:
    """The first picture that decodes; the QP of the first coded one on HEVC's scale; FFmpeg's chroma location
    (0: unsaid), which PyAV does not tell and is known here for HEVC alone.
    """

    picture: av.VideoFrame | None = None
    qp: float | None = None
    chroma_location: int = 0


def _beginning(container: InputContainer, stream: VideoStream) -> _Beginning:
    """Decodes until there is a picture, or until it is clear that there is none."""
    context = stream.codec_context
    context.flags |= UNALIGNED
    context.options = {**context.options, **EXPORT_OPTION}
    parser = PacketParser(context.extradata) if context.name == "hevc" else None
    coded: list[Picture] = []
    try:
        for count, packet in enumerate(container.demux(stream)):
            if parser is not None and not coded:
                coded = [each for each in parser.parse(bytes(packet)) if each.decode_index >= 0]
            try:
                pictures = context.decode(packet)
            except av.error.FFmpegError:
                pictures = []
            if pictures:
                qp = coded[0].qp if coded else frame_qp(pictures[0])[1]
                location = parser.chroma_location if parser is not None else None
                return _Beginning(pictures[0], qp, 0 if location is None else location + 1)
            if count >= PROBE_PACKETS:
                break
    except av.error.FFmpegError:
        pass  # what the headers say must do
    return _Beginning()


def _container_tags(stream: VideoStream) -> dict[str, int]:
    """FFmpeg's numbers of the container's colour tags; the decoder writes over them at its first picture."""
    context = stream.codec_context
    return {
        "primaries": int(context.color_primaries),
        "transfer": int(context.color_trc),
        "matrix": int(context.colorspace),
        "range": int(context.color_range),
    }


def _picture_tags(picture: av.VideoFrame | None) -> dict[str, int]:
    """FFmpeg's numbers of the colour tags that a picture has; these go before the container's."""
    if picture is None:
        return {}
    unsaid = {"primaries": 2, "transfer": 2, "matrix": 2, "range": 0}
    shown = {
        "primaries": int(picture.color_primaries),
        "transfer": int(picture.color_trc),
        "matrix": int(picture.colorspace),
        "range": int(picture.color_range),
    }
    return {name: value for name, value in shown.items() if value != unsaid[name]}


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of the video stream where the header says them, else of the container."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


def _field_order(stream: VideoStream, first: av.VideoFrame | None) -> str:
    """The header's field order; a first picture marked as interlaced makes an unknown one top first."""
    order = FIELD_ORDERS.get(int(stream.codec_context.field_order), "unknown")
    if first is not None and first.interlaced_frame and order not in INTERLACED:
        return "tt"
    return order


def parsed(parser: PacketParser, packet: Packet) -> list[Picture]:
    """The coded pictures of a packet, by the parameter sets that the container may send beside it, too."""
    if packet.has_sidedata("new_extradata"):
        parser.new_extradata(bytes(packet.get_sidedata("new_extradata")))
    return parser.parse(bytes(packet))


def side_data_of(picture: av.VideoFrame | None) -> dict[str, bytes]:
    """The side data of a picture: FFmpeg's bytes under FFmpeg's names, of the kinds that PyAV knows."""
    if picture is None:
        return {}
    entries: Any = picture.side_data  # PyAV's type hints and its behaviour differ here
    known = Type.__members__
    return {entry.type.name: bytes(entry) for entry in entries if entry.type.name in known}


def _described(stream: Stream) -> str:
    """One line about a stream, for people."""
    language = f" ({stream.language})" if stream.language and stream.language != "und" else ""
    line = f"#{stream.index} {stream.type}{language}"
    if stream.codec_context is None:
        return line
    line += f": {stream.codec_context.name}"
    if isinstance(stream, VideoStream):
        return f"{line}, {stream.width}x{stream.height}, {stream.codec_context.pix_fmt}"
    if isinstance(stream, AudioStream):
        return f"{line}, {stream.codec_context.sample_rate} Hz, {stream.codec_context.layout.name}"
    return line
