"""Small videos made here, good ones and ones that cannot be enhanced."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(
    path: Path,
    frames: int = 3,
    size: tuple[int, int] = (48, 32),
    codec: str = "libx265",
    sound: bool = False,
    interlaced: bool = False,
) -> Path:
    """A moving gradient in BT.709; size: width, height. sound: with a PCM track. frames 0: headers only."""
    with av.open(str(path), "w") as container:
        options = {"x265-params": f"log-level=none:qp=30{':interlace=tff' if interlaced else ''}"}
        stream = container.add_stream(codec, rate=10, options=options if codec == "libx265" else {})
        stream.width, stream.height = size
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1
        stream.pix_fmt = "yuv420p" if size[0] % 2 == 0 == size[1] % 2 else "yuv444p"
        if interlaced:
            stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct
        audio = container.add_stream("pcm_s16le", rate=8000, layout="mono") if sound else None
        for index in range(frames):
            container.mux(stream.encode(picture(index, size, stream.pix_fmt)))
        if frames:
            container.mux(stream.encode())
        if audio is not None:
            container.mux(audio.encode(tone(800 * frames)))
            container.mux(audio.encode())
        if not frames:
            container.start_encoding()
    return path


def picture(index: int, size: tuple[int, int], pix_fmt: str) -> av.VideoFrame:
    """Frame `index` of the moving gradient."""
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rgb = np.stack([across * 4 + index * 8, down * 6, across + down * 3 + index], axis=-1) % 256
    frame = av.VideoFrame.from_ndarray(rgb.astype(np.uint8), format="rgb24").reformat(format=pix_fmt)
    frame.pts, frame.time_base = index, Fraction(1, 10)
    return frame


def tone(samples: int) -> av.AudioFrame:
    """440 Hz at 8000 samples a second."""
    wave = (8000 * np.sin(np.arange(samples) * 440 / 8000 * 2 * np.pi)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = 8000, 0
    return frame


def write_sound(path: Path) -> Path:
    """Sound without pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        container.mux(stream.encode(tone(8000)))
        container.mux(stream.encode())
    return path


def decoded(path: Path) -> list[np.ndarray]:
    """The pictures of a video, as (rows, columns) arrays of all planes."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def packets(path: Path, kind: str) -> list[bytes]:
    """The packets of the first stream of a kind ("audio")."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]
