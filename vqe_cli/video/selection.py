"""Which streams of an input go into a file beside the enhanced video: copied, as text, or left out."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Disposition, Stream

from vqe_cli.errors import VqeError
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.opening import open_input, reading

# Tags of a stream or file that its new writer sets itself, or that tell of the coding that is replaced.
STALE_TAGS = (
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "vendor_id",
    "alpha_mode",
    "rotate",
)
STALE_PREFIXES = ("_statistics", "bps", "number_of_", "duration")
# How cover pictures are called in Matroska files (RFC 9559, section 21.1), by FFmpeg's name of the codec.
COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
# Inputs that hold nothing but pictures.
WITHOUT_COPIES = ("images", "rawvideo", "yuv4mpegpipe")

TIMECODE = "timecode"
SRT_TIME_BASE = Fraction(1, 1000)
# What FFmpeg and PyAV raise for a stream that a container does not take.
REFUSALS = (ValueError, OSError, av.error.FFmpegError)


@dataclass(frozen=True)
class Selection:
    """What becomes of the input's other streams."""

    copied: tuple[int, ...] = ()
    """Indices of those that are written as they are."""

    as_text: frozenset[int] = frozenset()
    """Indices of text subtitles of MP4 files, which are written as SRT."""

    refused: tuple[int, ...] = ()
    """Indices of those that the container cannot hold."""

    dropped: frozenset[str] = frozenset()
    """Tags of the video that the container does not take."""

    warnings: tuple[str, ...] = ()
    """Sentences about what is left out."""

    @property
    def written(self) -> tuple[int, ...]:
        return tuple(sorted([*self.copied, *self.as_text]))


def select(info: VideoInfo, muxer: str) -> Selection:
    """What a container can hold of an input, by its header alone.

    Time code tracks are left out: muxers write them anew from the video's tag. Chapters of MP4 and MOV files
    show up as a text track, too, and are written anew as well. Data that the container cannot hold is left
    out with a warning. Raises VqeError as `open_input`.
    """
    if info.container in WITHOUT_COPIES:
        return Selection()
    copied, as_text, refused, warnings = [], [], [], []
    with open_input(info.path) as source:
        for stream in source.streams:
            if stream.index == info.stream_index or _is_written_anew(stream):
                continue
            if _is_held(stream, muxer):
                copied.append(stream.index)
            elif stream.type == "subtitle" and codec_of(stream) == "mov_text" and muxer == "matroska":
                as_text.append(stream.index)
                warnings.append(
                    f"{info.path}: {named(stream)} is written as SRT, without its fonts and colours"
                )
            elif stream.type in ("data", "unknown"):
                warnings.append(left_out(info.path, stream, muxer))
            else:
                refused.append(stream.index)
    return Selection(tuple(copied), frozenset(as_text), tuple(refused), warnings=tuple(warnings))


def left_out(path: Path, stream: Stream, muxer: str) -> str:
    """The warning about a stream of data."""
    return f"{path}: {named(stream)} is left out, {muxer} files cannot hold it"


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of a stream's codec, or its type where there is no codec that is known."""
    context = stream.codec_context
    return str(context.name if context is not None else getattr(stream, "name", None) or stream.type)


def named(stream: Stream) -> str:
    """A stream in a sentence."""
    return f"stream #{stream.index} of the input ({stream.type}, {codec_of(stream)})"


def fresh_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Metadata without what the new file says itself."""
    return {
        key: value
        for key, value in tags.items()
        if key.lower() not in STALE_TAGS and not key.lower().startswith(STALE_PREFIXES)
    }


def tag(tags: Mapping[str, str], name: str) -> str | None:
    """A tag by its name; containers differ in their capitals."""
    return next((value for key, value in tags.items() if key.lower() == name), None)


def timecode_of(source: InputContainer) -> str | None:
    """What the only time code track says of its first picture, None where there is none, or several."""
    codes = [tag(stream.metadata, TIMECODE) for stream in source.streams if _is_timecode(stream)]
    return codes[0] if len(codes) == 1 else None


def add_stream(output: OutputContainer, stream: Stream, muxer: str, as_text: bool = False) -> Stream:
    """A new stream of `output` with the coding parameters and tags of `stream`; as_text: to hold SRT."""
    is_cover = stream.type == "video" and Disposition.attached_pic in stream.disposition
    if isinstance(stream, AttachmentStream):
        added: Stream = output.add_attachment(stream.name or "attachment", stream.mimetype or "", stream.data)
    elif is_cover and muxer == "matroska":
        name, mime_type = COVERS.get(codec_of(stream), ("cover", "application/octet-stream"))
        name = stream.metadata.get("filename", name)
        return output.add_attachment(name, stream.metadata.get("mimetype", mime_type), _first_packet(stream))
    elif as_text:
        added = output.add_mux_stream("subrip")
        added.time_base = SRT_TIME_BASE
    else:
        added = output.add_stream_from_template(stream, opaque=True)
    added.metadata.update(fresh_tags(stream.metadata))
    added.disposition = stream.disposition
    return added


def srt_text(sample: bytes) -> bytes:
    """The text of a sample of timed text, b"" for a pause (3GPP TS 26.245, section 5.17): its length in two
    bytes, UTF-8 (or UTF-16 with a byte order mark), then boxes of style.
    """
    text = sample[2 : 2 + int.from_bytes(sample[:2], "big")]
    if text.startswith((b"\xfe\xff", b"\xff\xfe")):
        text = text.decode("utf-16", "replace").encode()
    return text.replace(b"\r\n", b"\n").strip(b"\r\n\0")


def _is_timecode(stream: Stream) -> bool:
    return stream.type == "data" and tag(stream.metadata, TIMECODE) is not None


def _is_written_anew(stream: Stream) -> bool:
    is_chapter_track = stream.type == "data" and getattr(stream, "name", "") == "bin_data"
    return _is_timecode(stream) or (is_chapter_track and bool(stream.container.chapters()))


def _is_held(stream: Stream, muxer: str) -> bool:
    """Whether a header with this stream alone can be written."""
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            add_stream(trial, stream, muxer)
            trial.start_encoding()
    except REFUSALS:
        return False
    return True


def _first_packet(stream: Stream) -> bytes:
    """The only packet of a cover picture, read by itself: Matroska keeps covers as attachments."""
    path = Path(stream.container.name)
    with open_input(path) as container, reading(path):
        twin = container.streams[stream.index]
        return next((bytes(packet) for packet in container.demux(twin) if packet.size), b"")


class NotHeld(VqeError):
    """A container cannot hold some streams. streams: their indices; () where it is not known which."""

    def __init__(self, message: str, streams: tuple[int, ...] = (), remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.streams = streams


# --- time codes (SMPTE ST 12-1) as tags hold them: "01:00:00:00", with ";" for drop frames ---

TIMECODE_FORM = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d{1,5})")


def later_timecode(code: str, pictures: int, rate: Fraction | None) -> str:
    """The time code so many pictures later; what is not a time code, or has no rate, stays as it is."""
    found = TIMECODE_FORM.fullmatch(code.strip())
    if found is None or not rate or pictures == 0:
        return code
    hours, minutes, seconds, mark, frames = found.groups()
    a_second = max(1, round(rate))
    # Two numbers of each minute but every tenth are left out at 30 pictures a second, four at 60.
    dropped = round(a_second / 15) if mark in ";.," and a_second % 30 == 0 else 0
    total_minutes = int(hours) * 60 + int(minutes)
    number = (total_minutes * 60 + int(seconds)) * a_second + int(frames)
    number -= dropped * (total_minutes - total_minutes // 10)
    number = (number + pictures) % (24 * (6 * _ten_minutes(a_second, dropped)))
    if dropped:
        tens, within = divmod(number, _ten_minutes(a_second, dropped))
        minute = max(0, within - dropped) // (60 * a_second - dropped)
        number += dropped * (9 * tens + minute)
    left, frame = divmod(number, a_second)
    return f"{left // 3600:02d}:{left // 60 % 60:02d}:{left % 60:02d}{mark}{frame:0{len(frames)}d}"


def _ten_minutes(a_second: int, dropped: int) -> int:
    """Pictures in ten minutes."""
    return 600 * a_second - 9 * dropped
