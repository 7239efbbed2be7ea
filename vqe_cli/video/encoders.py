"""Choosing and opening the encoder of the written video, and what it and the container cannot keep."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vqe_cli.errors import OutputError, VqeError
from vqe_cli.video.encoder_names import OFFERED
from vqe_cli.video.encoder_options import WITHOUT_QUALITY, options_for
from vqe_cli.video.formats import picture_of, sample_format
from vqe_cli.video.frame import DEFAULT_RATE, Frame, VideoInfo
from vqe_cli.video.hdr import (
    CODEC_IDS,
    PARAMETERS,
    content_light,
    mastering_display,
    template,
)
from vqe_cli.video.targets import Encoding

DEFAULT_CODEC = "libx265"
LOSSLESS_CODEC = "ffv1"

# Of machines with such hardware and its driver; whether these open is only known by opening them.
HARDWARE = ("_nvenc", "_qsv", "_videotoolbox", "_vaapi", "_amf", "_mf", "_v4l2m2m")
# The same samples in another order of bytes, which FFmpeg's scaler converts without loss.
PACKED = {
    "gbrp": ("bgr0", "rgb24", "bgr24"),
    "gray": ("gray8",),
    "yuv420p": ("nv12",),
    "yuv420p10le": ("p010le",),
    "yuv420p12le": ("p012le",),
}
# Encoders for editing, which take finer chroma or more bits than most videos have.
WIDENING = ("prores_ks", "dnxhd")

# Whether a NAL unit, by its first byte, is a parameter set (H.265, table 7-1; H.264, table 7-1).
PARAMETER_SETS: dict[str, Callable[[int], bool]] = {
    "libx265": lambda first: 32 <= first >> 1 <= 34,
    "libx264": lambda first: first & 31 in (7, 8),
}
START_CODES = (b"\0\0\1", b"\0\0\0\1")


def choose_codec(info: VideoInfo, wanted: Encoding, size: tuple[int, int]) -> tuple[str, str]:
    """The codec that pictures of `size` (width, height) are written with, and a warning ("" for none).

    Without a codec asked for it is x265, or FFV1 where x265 cannot write such pictures (odd sizes in 4:2:0,
    more than 12 bits, below 16 pixels). Raises VqeError: no such encoder, pixel format or size that it cannot
    write, options that it does not know.
    """
    if wanted.codec is not None:
        configure(new_encoder(wanted.codec), wanted.codec, info, wanted, size)
        return wanted.codec, ""
    try:
        configure(new_encoder(DEFAULT_CODEC), DEFAULT_CODEC, info, wanted, size)
    except VqeError as error:
        if wanted.crf is not None or wanted.options:
            raise
        configure(new_encoder(LOSSLESS_CODEC), LOSSLESS_CODEC, info, wanted, size)
        return LOSSLESS_CODEC, f"{error.message} They are written losslessly with {LOSSLESS_CODEC} instead."
    return DEFAULT_CODEC, ""


def check_codec(name: str) -> None:
    """Raises VqeError unless `name` is a video encoder of this FFmpeg that works on this machine."""
    try:
        codec = av.Codec(name, "w")
    except (ValueError, av.error.FFmpegError) as error:
        raise OutputError(f"there is no encoder named {name} here.", remedy=_available()) from error
    if codec.type != "video":
        raise OutputError(f"{name} is not a video encoder.", remedy=_available())
    if not _opens(name):
        raise OutputError(
            f"{name} does not work on this machine: there is no such hardware, or its driver is missing.",
            remedy=_available(),
        )


def available_encoders() -> list[str]:
    """Those of `OFFERED` that open on this machine."""
    return [name for name in OFFERED if name in av.codecs_available and _opens(name)]


def _available() -> str:
    """The remedy for an encoder that is not there."""
    *others, last = available_encoders()
    return f"Use one of {', '.join(others)} and {last}."


@cache
def _opens(name: str) -> bool:
    """Whether an encoder of hardware opens for an ordinary picture; others always do."""
    if not name.endswith(HARDWARE):
        return True
    formats = [each.name for each in av.Codec(name, "w").video_formats or ()]
    encoder = cast(VideoCodecContext, av.CodecContext.create(name, "w"))
    encoder.width, encoder.height = 640, 480
    encoder.pix_fmt = "yuv420p" if "yuv420p" in formats else "nv12"
    encoder.time_base, encoder.framerate = 1 / DEFAULT_RATE, DEFAULT_RATE
    logged = av.logging.get_level()
    av.logging.set_level(av.logging.PANIC)
    try:
        encoder.open()
    except (av.error.FFmpegError, OSError, ValueError):
        return False
    finally:
        av.logging.set_level(logged)
    return True


def written_format(codec: str, planar: str) -> str:
    """The encoder's pixel format for planes of format `planar`, without loss of samples.

    Encoders for editing get more bits or finer chroma where they have no other. Raises VqeError where there
    is none.
    """
    formats = [each.name for each in av.Codec(codec, "w").video_formats or ()]
    if not formats or planar in formats:
        return planar
    wider = [name for name in formats if codec in WIDENING and _holds(name, planar)]
    for name in (*PACKED.get(planar, ()), *sorted(wider, key=_bits)):
        if name in formats:
            return name
    lossless = f"Choose --codec {LOSSLESS_CODEC}, or w" if codec != LOSSLESS_CODEC else "W"
    raise OutputError(
        f"{codec} cannot write {planar} pictures.",
        remedy=f"{lossless}ith --pix-fmt name one of {', '.join(formats)}.",
    )


def _holds(wide: str, narrow: str) -> bool:
    """Whether a pixel format has all that another one has: as many bits, and chroma as fine."""
    one, other = sample_format(wide), sample_format(narrow)
    if one.alpha or one.model != other.model or one.bit_depth < other.bit_depth:
        return False
    return all(a <= b for a, b in zip(one.subsampling, other.subsampling, strict=True))


def _bits(name: str) -> int:
    return av.VideoFormat(name).bits_per_pixel


def configure(
    encoder: VideoCodecContext, codec: str, info: VideoInfo, wanted: Encoding, size: tuple[int, int]
) -> None:
    """Sets and opens `encoder` (of `codec`) for pictures of `size`; raises VqeError as `choose_codec`
    does.
    """
    planar = wanted.pix_fmt or sample_format(info.pix_fmt).planar
    encoder.width, encoder.height = size
    encoder.pix_fmt = written_format(codec, _known_format(planar))
    encoder.time_base = info.time_base
    encoder.framerate = info.rate or DEFAULT_RATE
    if info.sample_aspect is not None:
        encoder.sample_aspect_ratio = info.sample_aspect
    _tag(encoder, info)
    encoder.options = options_for(codec, info, wanted, size, encoder.pix_fmt)
    os.environ.setdefault(
        "SVT_LOG", "1"
    )  # errors only: SVT-AV1 writes to stderr by itself, and only this stops it
    try:
        encoder.open()
    except av.error.FFmpegError as error:
        raise OutputError(
            f"{codec} cannot write {size[0]}x{size[1]} {encoder.pix_fmt} pictures with the options "
            f"{' '.join(f'{key}={value}' for key, value in encoder.options.items())}.",
            remedy=f"Choose other options, or --codec {LOSSLESS_CODEC}, which writes pictures of any size.",
        ) from error
    unknown = [key for key in encoder.options if key in wanted.options or key == "crf"]
    if "crf" in unknown and wanted.crf is not None:
        raise OutputError(
            f"{codec} has no quality that --crf could set.",
            remedy=f"Leave --crf out{WITHOUT_QUALITY.get(codec, '')}.",
        )
    if unknown:
        raise OutputError(
            f"{codec} does not know the option {unknown[0]}.",
            remedy=f"`ffmpeg -h encoder={codec}` lists what it knows.",
        )


def new_encoder(codec: str) -> VideoCodecContext:
    """An encoder that is not opened yet; raises VqeError where there is none of that name."""
    check_codec(codec)
    return cast(VideoCodecContext, av.CodecContext.create(codec, "w"))


def decoder_header(encoder: VideoCodecContext) -> bytes:
    """What a decoder must know before the first packet of an opened encoder; b"" where packets tell it.

    Of HEVC and H.264 the parameter sets alone: x265 also notes there on how many threads it runs.
    """
    header = bytes(encoder.extradata or b"")
    if encoder.name not in PARAMETER_SETS or not header.startswith(START_CODES):
        return header
    type_of = PARAMETER_SETS[encoder.name]
    nals = [nal for nal in re.split(b"\0\0\0?\1", header) if nal and type_of(nal[0])]
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


def _known_format(pix_fmt: str) -> str:
    try:
        av.VideoFormat(pix_fmt)
    except ValueError as error:
        raise OutputError(
            f"there is no pixel format named {pix_fmt}.", remedy="Use yuv420p, yuv420p10le, yuv444p …"
        ) from error
    return pix_fmt


def _tag(encoder: VideoCodecContext, info: VideoInfo) -> None:
    """The input's colour tags; what was a guess stays unsaid."""
    encoder.color_primaries = info.tags.get("primaries", 2)
    encoder.color_trc = info.tags.get("transfer", 2)
    encoder.colorspace = info.tags.get("matrix", 2)
    encoder.color_range = 2 if info.colour.full_range else info.tags.get("range", 0)
    encoder.field_order = 1 if info.field_order == "progressive" else 0


# --- the encoder of a container's stream ---

GLOBAL_HEADER = 1 << 22  # FFmpeg's flag for encoders: parameter sets go there alone


def new_stream_encoder(
    output: OutputContainer,
    info: VideoInfo,
    chosen: Encoding,
    size: tuple[int, int],
    side_data: Mapping[str, bytes] | None = None,
) -> tuple[VideoStream, VideoCodecContext]:
    """A new stream of `output` and its encoder, opened for pictures of `size` (width, height).

    chosen: with a codec. side_data: for the container's header, in place of the input's. Where the header is
    to tell of HDR10, the stream comes from a template and its encoder stands beside it.
    """
    assert chosen.codec is not None
    codec, source = chosen.codec, None
    if output.format.name in DESCRIBING_MUXERS:
        source = template(codec, info.side_data if side_data is None else side_data)
    if source is None:
        stream = output.add_stream(codec)
        assert isinstance(stream, VideoStream)
        if output.format.name == "avi":
            stream.codec_context.max_b_frames = 0  # AVI tells no times, and pictures come in coding order
        configure(stream.codec_context, codec, info, chosen, size)
        return stream, stream.codec_context
    # The container's header keeps the encoder's parameter sets in all of these muxers.
    with source:
        [described] = source.streams.video
        stream = output.add_stream_from_template(described, opaque=True)
    encoder = new_encoder(codec)
    encoder.flags |= GLOBAL_HEADER
    configure(encoder, codec, info, chosen, size)
    parameters = stream.codec_context
    parameters.width, parameters.height = size
    parameters.pix_fmt, parameters.extradata = encoder.pix_fmt, encoder.extradata
    parameters.framerate, parameters.field_order = encoder.framerate, encoder.field_order
    parameters.color_primaries, parameters.color_trc = encoder.color_primaries, encoder.color_trc
    parameters.colorspace, parameters.color_range = encoder.colorspace, encoder.color_range
    if info.sample_aspect is not None:
        parameters.sample_aspect_ratio = info.sample_aspect
    return stream, encoder


def pictured(
    planes: Sequence[np.ndarray], planar: str, info: VideoInfo, encoder: VideoCodecContext
) -> av.VideoFrame:
    """Planes as a picture with the encoder's tags; its time is left to the caller."""
    picture = picture_of(planes, planar)
    picture.time_base = info.time_base
    picture.colorspace, picture.color_range = encoder.colorspace, encoder.color_range
    return picture


# --- what the chosen container and codec cannot keep, in sentences for the user ---

DESCRIBING_MUXERS = ("matroska", "webm", "mp4", "mov")

# Metadata of single pictures that the encoders are not given.
PER_PICTURE = {
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "A53_CC": "closed captions inside the video",
    "FILM_GRAIN_PARAMS": "film grain parameters",
}


def stream_losses(info: VideoInfo, muxer: str, codec: str) -> list[str]:
    """What is lost of the description of the whole stream."""
    lost = []
    if info.display_matrix and muxer not in DESCRIBING_MUXERS:
        lost.append(f"the rotation ({info.rotation_deg} degrees)")
    if info.sample_aspect not in (None, 1) and muxer == "avi" and codec not in PARAMETERS:
        lost.append("the pixel aspect ratio")
    kept = codec in PARAMETERS or (muxer in DESCRIBING_MUXERS and codec in CODEC_IDS)
    if not kept and (mastering_display(info.side_data) or content_light(info.side_data)):
        lost.append("the HDR10 metadata")
    return [f"{info.path}: {' and '.join(lost)} cannot be kept by {codec} in {muxer}"] if lost else []


def frame_losses(info: VideoInfo, frame: Frame) -> list[str]:
    """What is lost of the metadata of one picture; the same sentence for each picture."""
    lost = [name for key, name in PER_PICTURE.items() if key in frame.side_data]
    return [f"{info.path}: {name} are not kept" for name in lost]
