"""Images as frames: a folder of them, a numbered pattern, or one."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from vqe_cli.errors import InputError, VqeError
from vqe_cli.video import refusals
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.opening import IMAGE_SUFFIXES, each_reading, open_input, video_stream
from vqe_cli.video.planes import planes_of
from vqe_cli.video.probe import probe
from vqe_cli.video.targets import NUMBERED, is_pattern

DEFAULT_RATE = Fraction(25)


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

    rate: frames per second that they stand for. Raises VqeError as `Reader` does.
    """

    def __init__(
        self, path: str | Path, start: int = 0, frames: int | None = None, rate: Fraction | None = None
    ) -> None:
        self._files = image_files(Path(path))
        if start >= len(self._files):
            raise InputError(
                f"{path} has only {len(self._files)} images, none from image {start} on.",
                remedy="Choose an earlier start.",
            )
        self._part = range(
            start, len(self._files) if frames is None else min(len(self._files), start + frames)
        )
        rate = rate or DEFAULT_RATE
        self._first = probe(self._files[0])
        self.info: VideoInfo = replace(
            self._first,
            path=Path(path),
            container="images",
            rate=rate,
            time_base=1 / rate,
            start_pts=0,
            frame_count=len(self._files),
            duration_s=float(len(self._files) / rate),
            field_order="progressive",
        )
        self.warnings: list[str] = []
        if self.info.transparent:
            self.warnings.append(f"{path}: transparency is not kept")

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
                raise refusals.size_change(self.info, index, picture.width, picture.height)
            if picture.format.name != self.info.pix_fmt:
                raise refusals.format_change(self.info, index, picture.format.name)
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
    raise refusals.undecodable(path)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers in names by their value."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], path.name
