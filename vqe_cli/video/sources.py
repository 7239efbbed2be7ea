"""One way to open whatever a user names: video files, raw planes, images."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from vqe_cli.errors import InputError
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.images import ImageReader, image_files
from vqe_cli.video.opening import check_readable
from vqe_cli.video.reader import Entry, Reader

# The way raw files are named: BasketballPass_416x240_50.yuv, clip_416x240_25fps_10bit_420.yuv
RAW_SUFFIXES = {".yuv", ".raw", ".rgb"}
SIZE_IN_NAME = re.compile(r"(?<!\d)(\d{2,5})x(\d{2,5})(?:_(\d{1,3})(?:fps|Hz|hz)?)?(?!\d)")


@dataclass(frozen=True)
class Source:
    """An input, or a part of it.

    path: as for `open_reader`. start: first frame used, from 0; frames: how many, None for all. hm_log: log
    of the HM encoder or decoder with the QPs.
    """

    path: Path
    start: int = 0
    frames: int | None = None
    hm_log: Path | None = None

    @property
    def is_part(self) -> bool:
        """Whether less than the whole input is used."""
        return self.start > 0 or self.frames is not None

    def open(self, entry: Entry | None = None) -> "FrameSource":
        """A reader of it; entry: where decoding begins. Raises VqeError as `open_reader` does."""
        return open_reader(self.path, self.hm_log, self.start, self.frames, entry=entry)


class FrameSource(Protocol):
    """What `Reader` and `ImageReader` have in common."""

    info: VideoInfo

    @property
    def warnings(self) -> list[str]:
        """Sentences, complete at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame]: ...


def open_reader(
    path: str | Path,
    hm_log: str | Path | None = None,
    start: int = 0,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    pix_fmt: str | None = None,
    rate: Fraction | None = None,
    entry: Entry | None = None,
) -> FrameSource:
    """The reader for a video file, a folder of images, a pattern (`%05d.png`), an image, or raw planes
    (`.yuv`).

    size (width, height) and pix_fmt (default yuv420p) describe raw planes whose name does not tell the size;
    rate is for raw planes and images. entry: where reading begins, at or after `start`. The rest is as for
    `Reader`. Raises VqeError as `Reader` does.
    """
    path = Path(path)
    if path.suffix.lower() in RAW_SUFFIXES and path.is_file():
        return _raw(path, hm_log, start, frames, size, pix_fmt or "yuv420p", rate, entry)
    if image_files(path):
        skipped = 0 if entry is None else entry.index - start
        return ImageReader(path, start + skipped, None if frames is None else frames - skipped, rate)
    return Reader(path, hm_log, start, frames, entry=entry)


def _raw(
    path: Path,
    hm_log: str | Path | None,
    start: int,
    frames: int | None,
    size: tuple[int, int] | None,
    pix_fmt: str,
    rate: Fraction | None,
    entry: Entry | None,
) -> Reader:
    """A reader of raw planes, by the size that is given or that stands in the name."""
    check_readable(path)
    named = SIZE_IN_NAME.search(path.stem)
    if size is None and named is not None:
        size = int(named[1]), int(named[2])
        rate = rate or (Fraction(named[3]) if named[3] else None)
    if size is None:
        raise InputError(
            f"{path} holds raw planes and does not say how large they are.",
            remedy="Put the size into the name, as in clip_416x240_50.yuv, or convert it to .y4m first.",
        )
    options = {
        "video_size": f"{size[0]}x{size[1]}",
        "pixel_format": pix_fmt,
        "framerate": str(rate or Fraction(25)),
    }
    return Reader(path, hm_log, start, frames, container_format="rawvideo", options=options, entry=entry)
