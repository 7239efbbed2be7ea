"""Tiny clips for tests, made through FFmpeg: any pixel format, any size, any number of pictures."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vqe_cli.video.formats import picture_of, sample_format
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.sources import open_reader
from vqe_cli.video.targets import Encoding, Output
from vqe_cli.video.writer import Writer

QUIET = {"x265-params": "log-level=none:cutree=0"}


def planes(pix_fmt: str, width: int, height: int, number: int = 0) -> tuple[np.ndarray, ...]:
    """A moving pattern with noise, as planes of `pix_fmt`."""
    samples = sample_format(pix_fmt)
    noise = np.random.default_rng(number)
    top = 2**samples.bit_depth

    def plane(w: int, h: int) -> np.ndarray:
        y, x = np.mgrid[0:h, 0:w]
        wave = (np.sin(x / 7 + number / 3) + np.cos(y / 5)) * top / 6 + top / 2
        return (
            (wave + noise.integers(-4, 5, (h, w)))
            .clip(0, top - 1)
            .astype(np.uint8 if top == 256 else np.uint16)
        )

    across, down = samples.subsampling
    small = -(-width // across), -(-height // down)
    shapes = [(width, height)] if samples.model == "gray" else [(width, height), small, small]
    return tuple(plane(*shape) for shape in shapes)


def picture(pix_fmt: str, width: int, height: int, number: int, rate: int = 25) -> av.VideoFrame:
    """Picture `number` of a clip, with its time."""
    made = picture_of(planes(pix_fmt, width, height, number), pix_fmt)
    made.pts, made.time_base = number, Fraction(1, rate)
    return made


def make_clip(
    path: Path,
    codec: str = "ffv1",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    count: int = 5,
    options: dict[str, str] | None = None,
    **settings: object,
) -> Path:
    """Writes a clip; settings are attributes of the encoder (colour tags, aspect)."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.options = options or (QUIET if codec == "libx265" else {})
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number in range(count):
            output.mux(stream.encode(picture(pix_fmt, *size, number)))
        output.mux(stream.encode(None))
    return path


def output_to(path: str | Path, **settings: Any) -> Output:
    """An output by its path and single settings, of it or of its encoding."""
    encoding = {
        name: settings.pop(name) for name in ("codec", "crf", "pix_fmt", "options") if name in settings
    }
    return Output(Path(path), Encoding(**encoding), **settings)


def rewrite(source: Path, output: str | Path, **settings: Any) -> tuple[VideoInfo, list[Frame], list[str]]:
    """Reads and writes a video unchanged; gives what was read, and the writer's warnings."""
    with open_reader(source) as reader, Writer(output_to(output, **settings), reader.info) as writer:
        frames = list(reader)
        for frame in frames:
            writer.write(frame.planes, frame)
    return reader.info, frames, writer.warnings
