"""Small videos made on the spot: known pictures, coded without loss."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from vqe_cli.video.formats import picture_of
from vqe_cli.video.frame import Colour, Frame

BT709 = Colour("bt709", False, 8, (2, 2))
# FFmpeg's numbers of the tags.
MATRIX_BT709, MATRIX_BT601, RANGE_LIMITED = 1, 6, 1

Planes = tuple[np.ndarray, ...]


def moving_picture(index: int, width: int = 64, height: int = 48, noise: float = 0.0) -> Planes:
    """Frame `index` of a texture that drifts 3 pixels a frame, as Y, U, V of 4:2:0, with noise of its own."""
    texture = np.random.default_rng(1).integers(30, 220, (height, width * 4)).astype(float)
    for _ in range(3):
        texture = (texture + np.roll(texture, 1, 0) + np.roll(texture, 1, 1)) / 3
    luma = np.roll(texture, -3 * index, axis=1)[:, :width] * 1.6 - 70
    grain = np.random.default_rng(100 + index).normal(0, noise, luma.shape) if noise else 0
    chroma = np.full(((height + 1) // 2, (width + 1) // 2), 118 + index % 7, np.uint8)
    return (luma + grain).clip(16, 235).astype(np.uint8), chroma, (chroma + 9).astype(np.uint8)


def clip(count: int, noise: float = 0.0, width: int = 64, height: int = 48, start: int = 0) -> list[Planes]:
    """`count` frames of the moving picture."""
    return [moving_picture(index, width, height, noise) for index in range(start, start + count)]


def write(
    path: Path,
    frames: Sequence[Planes],
    pix_fmt: str = "yuv420p",
    matrix: int = MATRIX_BT709,
    codec: str = "ffv1",
    options: dict[str, str] | None = None,
) -> Path:
    """A video of these planes at 25 frames per second, tagged with the matrix (2: untagged)."""
    height, width = frames[0][0].shape
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=25, options=options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.colorspace = matrix
        if matrix != 2:
            stream.codec_context.color_range = RANGE_LIMITED
        for index, planes in enumerate(frames):
            picture = picture_of(planes, pix_fmt)
            picture.pts, picture.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def write_interlaced(path: Path, count: int, width: int = 64, height: int = 48) -> Path:
    """`count` pictures at 25 a second, each woven of two fields of the moving picture, the top one first."""
    fields = clip(2 * count, width=width, height=height)
    for top, bottom in zip(fields[::2], fields[1::2], strict=True):
        top[0][1::2] = bottom[0][1::2]
    with av.open(str(path), "w") as container:
        options = {"x264-params": "tff=1:qp=24"}
        stream = cast(VideoStream, container.add_stream("libx264", rate=25, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.flags |= 1 << 18 | 1 << 29  # interlaced DCT and motion
        for index, planes in enumerate(fields[::2]):
            picture = picture_of(planes, "yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def write_images(folder: Path, frames: Sequence[Planes]) -> Path:
    """RGB pictures (h, w, 3) uint8 as f001.png, f002.png ..."""
    from vqe_cli.video.images import png

    folder.mkdir(parents=True)
    for index, planes in enumerate(frames, 1):
        (folder / f"f{index:03d}.png").write_bytes(png(np.stack(planes, axis=2)))
    return folder


def frame(planes: Planes, index: int = 0) -> Frame:
    """The planes as the reader would hand them over."""
    return Frame(index=index, planes=planes, pts=index)
