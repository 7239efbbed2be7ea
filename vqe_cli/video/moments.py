"""Single moments of a video: which are worth a look, found in headers alone, and the frames around one."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vqe_cli.bitstream.av1 import Av1Parser
from vqe_cli.bitstream.packets import PacketParser, decoded_from
from vqe_cli.errors import InputError
from vqe_cli.text import clock_text
from vqe_cli.video.deinterlace import ProgressiveReader
from vqe_cli.video.frame import DEFAULT_RATE, Frame, VideoInfo
from vqe_cli.video.opening import open_input, reading, video_stream
from vqe_cli.video.probe import parsed
from vqe_cli.video.reader import AV1_DECODERS, Reader, seek_before
from vqe_cli.video.sources import FrameSource, Source

# Of each stretch of a video so many places are looked at, at each so many packets, and of these the pictures
# that so few others must be decoded for.
PLACES, PACKETS, NEAR_KEY = 3, 400, 48
# How far before a time decoding is tried to begin: some containers find what lies behind it.
MARGINS_S = (0.0, 4.0, 20.0)


@dataclass(frozen=True)
class Coded:
    """A coded picture of a place: seconds after the first picture of the video, QP (None: unknown), bytes."""

    seconds: float
    qp: float | None
    bytes: int
    after_key: int
    """Packets since the last key picture."""


def duration(info: VideoInfo) -> float | None:
    """Seconds of a video by its headers, None where these do not tell."""
    if info.duration_s is not None:
        return info.duration_s
    return None if info.frame_count is None else float(info.frame_count / (info.rate or DEFAULT_RATE))


def worst_moments(path: Path, info: VideoInfo, count: int) -> list[float]:
    """Up to `count` times, seconds after the first picture, spread over a video: in each of as many stretches
    the picture that was compressed most of those that were looked at, by QP or else (the one with the most to
    show) by its bytes.
    """
    length = duration(info)
    if length is None or info.container == "images":
        return [0.0] if length is None else [length * (k + 0.5) / count for k in range(count)]
    found: list[float] = []
    with open_input(path) as container, reading(path):
        stream = video_stream(container, path)
        for number in range(count):
            pictures: list[Coded] = []
            for place in range(PLACES):
                begin = (number + place / PLACES) * length / count
                end = (number + (place + 1) / PLACES) * length / count
                pictures += _usable(list(_coded(container, stream, info, begin, end)))
            if pictures:
                found.append(max(pictures, key=_badness).seconds)
    return sorted(set(found)) or [0.0]


def _badness(picture: Coded) -> tuple[float, int, int]:
    return (-1.0 if picture.qp is None else picture.qp, picture.bytes, -picture.after_key)


def _usable(pictures: list[Coded]) -> list[Coded]:
    """Those that lie near a key picture, where there are any."""
    return [each for each in pictures if each.after_key <= NEAR_KEY] or pictures


def _coded(
    container: InputContainer, stream: VideoStream, info: VideoInfo, begin: float, end: float
) -> Iterator[Coded]:
    """The pictures shown from `begin` to before `end` (seconds), of the first packets from there on."""
    with suppress(av.error.FFmpegError):
        seek_before(container, stream, info, begin)
    extradata = stream.codec_context.extradata
    hevc = PacketParser(extradata) if info.codec == "hevc" else None
    av1 = Av1Parser(extradata) if info.codec in AV1_DECODERS else None
    after_key = 0
    for number, packet in enumerate(container.demux(stream)):
        if number == PACKETS:
            return
        if packet.size == 0 or packet.pts is None or packet.is_discard:
            continue
        after_key = 0 if packet.is_keyframe else after_key + 1
        qp: float | None = None
        if hevc is not None:
            picture = decoded_from(parsed(hevc, packet))
            if picture is None or picture.skipped or not picture.output:
                continue
            qp = picture.qp
        elif av1 is not None:
            qp = av1.parse(bytes(packet))
        seconds = float((packet.pts - (info.start_pts or 0)) * info.time_base)
        if begin <= seconds < end:
            yield Coded(seconds, qp, packet.size, after_key)
        elif packet.is_keyframe and seconds >= end:
            return


@dataclass(frozen=True)
class Surroundings:
    """Frames in display order, and which of them (`at`) is the one that was asked for."""

    frames: tuple[Frame, ...]
    at: int
    seconds: float
    """Of that frame, after the first picture of the video."""

    decode_s: float
    """What decoding took, seconds for each frame."""


def frames_around(path: Path, seconds: float, context: int, progressive: str = "") -> Surroundings:
    """The frame shown at a time, with up to `context` frames on each side; decoding begins near it.

    progressive: as of `Source`. Raises InputError where the video ends before, and as the readers do.
    """
    for margin in (*MARGINS_S, None):
        reader = Source(path, progressive=progressive).open()
        begin = seconds - (margin or 0.0) - (context + 1) / float(reader.info.rate or DEFAULT_RATE)
        can_seek = isinstance(reader, Reader | ProgressiveReader) and begin > 0 and margin is not None
        if isinstance(reader, Reader | ProgressiveReader) and can_seek:
            reader.seek(begin)
        try:
            found = _around(reader, seconds, context)
        except InputError:
            if not can_seek:
                raise
            continue
        if found is not None and (not can_seek or found.at >= context):
            return found
        if not can_seek:
            break
    raise InputError(
        f"{path} has no picture at {clock_text(seconds)}.", "Choose a time before the end of the video."
    )


def _around(reader: FrameSource, seconds: float, context: int) -> Surroundings | None:
    """As `frames_around`, with the reader's frames; None where these end before."""
    info = reader.info
    before: deque[Frame] = deque(maxlen=context + 1)
    after: list[Frame] = []
    step = float(1 / (info.rate or DEFAULT_RATE))
    is_there = False
    began, seen = time.perf_counter(), 0
    with reader:
        for seen, frame in enumerate(reader, 1):  # noqa: B007
            if not is_there and before and _time(frame, info) > seconds + 1e-6:
                is_there = True
            if not is_there:
                before.append(frame)
                continue
            after.append(frame)
            if len(after) >= context:
                break
    if not before or (not is_there and seconds > _time(before[-1], info) + max(step, 0.5)):
        return None
    took = (time.perf_counter() - began) / (seen or 1)
    return Surroundings((*before, *after[:context]), len(before) - 1, _time(before[-1], info), took)


def _time(frame: Frame, info: VideoInfo) -> float:
    if frame.pts is None:
        return float(frame.index / (info.rate or DEFAULT_RATE))
    return float((frame.pts - (info.start_pts or 0)) * info.time_base)
