"""Images as frames (a folder of them, a numbered pattern, or one), and frames as PNG images."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
import torch
from av.video.codeccontext import VideoCodecContext

from vqe_cli.errors import InputError, OutputError, VqeError
from vqe_cli.files import sync
from vqe_cli.video.clock import Clock
from vqe_cli.video.coded import read_coded
from vqe_cli.video.colour import to_rgb, to_tensors
from vqe_cli.video.formats import planes_of
from vqe_cli.video.frame import DEFAULT_RATE, Colour, Frame, VideoInfo
from vqe_cli.video.opening import (
    IMAGE_SUFFIXES,
    each_reading,
    format_change,
    open_input,
    size_change,
    undecodable,
    video_stream,
)
from vqe_cli.video.probe import probe
from vqe_cli.video.targets import NUMBERED, Target, is_pattern
from vqe_cli.video.times import Times


def image_files(path: Path) -> list[Path]:
    """The images that `path` names, in natural order ("2.png" before "10.png"); empty where it names a video.

    path: a folder (its images, of the commonest suffix), a pattern ("frames/%05d.png"), or one image.
    Raises VqeError for folders and patterns without images.
    """
    if path.is_dir():
        found = [each for each in path.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES and each.is_file()]
        if not found:
            raise InputError(
                f"there are no images in {path}.", remedy="Name a folder with PNG or JPEG images."
            )
        [(suffix, _)] = Counter(each.suffix.lower() for each in found).most_common(1)
        return sorted((each for each in found if each.suffix.lower() == suffix), key=_natural)
    if is_pattern(path) and not path.exists():
        before, after = NUMBERED.split(path.name, maxsplit=1)
        name = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        folder = path.parent.iterdir() if path.parent.is_dir() else iter(())
        found = [each for each in folder if name.fullmatch(each.name)]
        if not found:
            raise InputError(f"there are no images named {path}.", remedy="Check the folder and the pattern.")
        return sorted(found, key=_natural)
    return [path] if path.suffix.lower() in IMAGE_SUFFIXES else []


class ImageReader:
    """The images of a folder or pattern as frames, with the interface of `Reader`; their QP is unknown.

    They stand for 25 frames per second. Raises VqeError as `Reader` does.
    """

    def __init__(self, path: str | Path, start: int = 0, frames: int | None = None) -> None:
        self._files = image_files(Path(path))
        if start >= len(self._files):
            raise InputError(
                f"{path} has only {len(self._files)} images, none from image {start} on.",
                remedy="Choose an earlier start.",
            )
        self._part = range(
            start, len(self._files) if frames is None else min(len(self._files), start + frames)
        )
        self._first = probe(self._files[0])
        self.info: VideoInfo = replace(
            self._first,
            path=Path(path),
            container="images",
            rate=DEFAULT_RATE,
            time_base=1 / DEFAULT_RATE,
            start_pts=0,
            frame_count=len(self._files),
            duration_s=float(len(self._files) / DEFAULT_RATE),
            field_order="progressive",
        )
        self.warnings: list[str] = []
        if self.info.transparent:
            self.warnings.append(f"{path}: transparency is not kept")

    def keep(self, times: Times) -> None:
        """Gives only the images whose times lie inside."""
        first, stop = times.frames(self.info)
        last = self._part.stop if stop is None else min(self._part.stop, stop)
        self._part = range(max(self._part.start, first), last)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open between images."""

    def __iter__(self) -> Iterator[Frame]:
        before: Frame | None = None
        for index in self._part:
            picture = _decoded(self._files[index])
            if (picture.width, picture.height) != (self.info.width, self.info.height):
                raise size_change(self.info, index, picture.width, picture.height)
            if picture.format.name != self.info.pix_fmt:
                raise format_change(self.info, index, picture.format.name)
            before = Frame(index, planes_of(picture), pts=index, duration=1, kind="I").after(before)
            yield before


def _decoded(path: Path) -> av.VideoFrame:
    with open_input(path) as container:
        try:
            for picture in each_reading(path, container.decode(video_stream(container, path))):
                return picture
        except VqeError as error:
            if not isinstance(error.__cause__, av.error.FFmpegError):
                raise
    raise undecodable(path)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], path.name


# --- out: 8-bit video as 8-bit images, deeper video as 16-bit ones ---


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
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format=name)
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
