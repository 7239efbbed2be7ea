"""Frames as PNG images: 8-bit video as 8-bit images, deeper video as 16-bit ones."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import torch
from av.video.codeccontext import VideoCodecContext

from vqe_cli.errors import OutputError
from vqe_cli.files import sync
from vqe_cli.video.clock import Clock
from vqe_cli.video.coded import read_coded
from vqe_cli.video.colour import to_rgb, to_tensors
from vqe_cli.video.frame import Colour, Frame, VideoInfo
from vqe_cli.video.targets import Target


class ImageWriter:
    """Numbers the images from 1 by the target's pattern ("%05d.png"); they move to their folder when all are
    there.
    """

    def __init__(self, target: Target, place: Path, info: VideoInfo) -> None:
        self._target, self._folder = target, place
        self._info = info
        self._written = 0
        self.warnings = warnings_of(target, info)

    def write(self, planes: Sequence[np.ndarray], frame: Frame) -> None:
        """Writes one image."""
        self._put(image_of(planes, self._info))

    def join(self, parts: Sequence[Path], clock: Clock) -> None:
        """Writes the images of all parts."""
        for part in parts:
            for coded in read_coded(part):
                self._put(coded.data)

    def _put(self, image: bytes) -> None:
        self._written += 1
        path = self._folder / self._target.image(self._written)
        if path.exists():
            raise OutputError(
                f"{self._target.path / path.name} names one image, but there are more frames.",
                remedy="Put a number into the name: %05d.png",
            )
        path.write_bytes(image)
        sync(path)

    def finish(self) -> None:
        """All images are there already."""

    def close(self) -> None:
        """Nothing is open."""


def warnings_of(target: Target, info: VideoInfo) -> list[str]:
    """What images do not keep of a video, and what is done to them."""
    warnings = [f"{target.path}: images keep neither sound nor time stamps"]
    if info.display_matrix and not is_right_angle(info.display_matrix):
        warnings.append(f"{target.path}: images are not turned, {info.path} is shown at an odd angle")
    elif info.display_matrix:
        warnings.append(f"{target.path}: images are turned as {info.path} is shown")
    return warnings


def image_of(planes: Sequence[np.ndarray], info: VideoInfo) -> bytes:
    """A picture as a PNG file, turned as the video is shown, with its pixel aspect ratio."""
    aspect, matrix = info.sample_aspect, info.display_matrix
    levels = levels_of(planes, info.colour)
    if matrix and is_right_angle(matrix):
        levels = turned(levels, matrix)
        if aspect is not None and matrix[0] == 0:
            aspect = 1 / aspect
    return png(levels, aspect)


def is_right_angle(matrix: Sequence[int]) -> bool:
    """Whether a display matrix (FFmpeg's nine numbers) turns by a multiple of 90 degrees, or mirrors."""
    across, down = (matrix[0], matrix[4]), (matrix[1], matrix[3])
    return (all(across) and not any(down)) or (all(down) and not any(across))


def turned(levels: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Levels (h, w, …) as a display matrix of right angles shows them: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if a == 0:
        levels, a, d = levels.swapaxes(0, 1), c, b
    levels = levels[:, ::-1] if a < 0 else levels
    return levels[::-1] if d < 0 else levels


def levels_of(planes: Sequence[np.ndarray], colour: Colour) -> np.ndarray:
    """RGB (h, w, 3) or, for gray video, gray (h, w): uint8 for 8-bit video, uint16 above."""
    white, dtype = (255, torch.uint8) if colour.bit_depth == 8 else (65535, torch.int32)
    rgb = to_rgb(to_tensors(planes), colour)[0].clamp(0, 1)
    if colour.matrix == "gray":
        rgb = rgb[:1]
    levels = (rgb * white).round().to(dtype).permute(1, 2, 0).numpy()
    levels = levels.astype(np.uint8 if white == 255 else np.uint16)
    return levels[..., 0] if levels.shape[-1] == 1 else levels


def png(levels: np.ndarray, aspect: Fraction | None = None, smallest: bool = False) -> bytes:
    """A PNG file of gray (h, w) or RGB (h, w, 3) levels, uint8 or uint16.

    aspect: of its pixels. smallest: compress as far as possible rather than fast.
    """
    deep = levels.dtype == np.uint16
    names = ("gray", "gray16be") if levels.ndim == 2 else ("rgb24", "rgb48be")
    name = names[deep]
    encoder = cast(VideoCodecContext, av.CodecContext.create("png", "w"))
    encoder.height, encoder.width = levels.shape[:2]
    encoder.pix_fmt = name
    if aspect is not None:
        encoder.sample_aspect_ratio = aspect
    if smallest:
        encoder.options = {"compression_level": "9", "pred": "mixed"}
    encoder.time_base = Fraction(1, 25)
    picture = av.VideoFrame(encoder.width, encoder.height, name)
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    packed = np.ascontiguousarray(levels.astype(">u2") if deep else levels).reshape(plane.height, -1)
    rows[:, : packed.view(np.uint8).shape[1]] = packed.view(np.uint8)
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def jpeg(pixels: np.ndarray) -> bytes:
    """A JPEG file of pixels (h, w, 3) uint8, at a quality (qscale 3) that hides its own artefacts."""
    encoder = cast(VideoCodecContext, av.CodecContext.create("mjpeg", "w"))
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt = "yuvj444p"
    encoder.options = {"qmin": "3", "qmax": "3"}
    encoder.time_base = Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    converted = picture.reformat(format="yuvj444p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(converted), *encoder.encode(None)])
