"""Whatever a user names as input: opened in one place, recognised in folders, compared with what it was."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from av.container import InputContainer

from vqe_cli.errors import InputError, VqeError
from vqe_cli.video.deinterlace import ProgressiveReader
from vqe_cli.video.frame import DEFAULT_RATE, Frame, VideoInfo
from vqe_cli.video.images import ImageReader, image_files
from vqe_cli.video.opening import IMAGE_SUFFIXES, check_readable, open_input, reading, video_stream
from vqe_cli.video.reader import Entry, RawLayout, Reader
from vqe_cli.video.targets import MUXERS
from vqe_cli.video.times import Times

# The way raw files are named: BasketballPass_416x240_50.yuv, clip_416x240_25fps_10bit_420.yuv
RAW_SUFFIXES = {".yuv", ".raw", ".rgb"}
SIZE_IN_NAME = re.compile(r"(?<!\d)(\d{2,5})x(\d{2,5})(?:_(\d{1,3})(?:fps|Hz|hz)?)?(?!\d)")


@dataclass(frozen=True)
class Source:
    """An input, or a part of it.

    path: as for `open_reader`. start: first frame used, from 0; frames: how many, None for all. hm_log: log
    of the HM encoder or decoder with the QPs. times: which of these frames are used, by their times.
    """

    path: Path
    start: int = 0
    frames: int | None = None
    hm_log: Path | None = None
    times: Times | None = None
    progressive: str = ""
    """How interlaced pictures become frames: "single", "double" or "film"; "" for progressive video."""

    @property
    def is_part(self) -> bool:
        """Whether less than the whole input is used."""
        return self.start > 0 or self.frames is not None or self.times is not None

    def open(self, entry: Entry | None = None) -> "FrameSource":
        """A reader of it; entry: where decoding begins. Raises VqeError as `open_reader` does."""
        if self.progressive:
            progressive = ProgressiveReader(self.path, self.progressive, self.hm_log, self.start, self.frames)
            if self.times is not None:
                progressive.keep(self.times)
            return progressive
        reader = open_reader(self.path, self.hm_log, self.start, self.frames, entry=entry)
        if self.times is not None:
            reader.keep(self.times)
        return reader


class FrameSource(Protocol):
    """What `Reader` and `ImageReader` have in common."""

    info: VideoInfo

    @property
    def warnings(self) -> list[str]:
        """Sentences, complete at the end."""

    def keep(self, times: Times) -> None:
        """Gives only the frames that lie inside; called before the first one."""

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
    raw: RawLayout | None = None,
    entry: Entry | None = None,
) -> FrameSource:
    """The reader for a video file, a folder of images, a pattern (`%05d.png`), an image, or raw planes
    (`.yuv`).

    raw: of raw planes whose name does not tell the size. entry: where reading begins, at or after `start`.
    The rest is as for `Reader`. Raises VqeError as `Reader` does.
    """
    path = Path(path)
    if path.suffix.lower() in RAW_SUFFIXES and path.is_file():
        return Reader(path, hm_log, start, frames, raw or _layout_in_name(path), entry)
    if image_files(path):
        skipped = 0 if entry is None else entry.index - start
        return ImageReader(path, start + skipped, None if frames is None else frames - skipped)
    return Reader(path, hm_log, start, frames, entry=entry)


def _layout_in_name(path: Path) -> RawLayout:
    """How raw planes lie by the name of their file; raises VqeError where it does not tell the size."""
    check_readable(path)
    named = SIZE_IN_NAME.search(path.stem)
    if named is None:
        raise InputError(
            f"{path} holds raw planes and does not say how large they are.",
            remedy="Put the size into the name, as in clip_416x240_50.yuv, or convert it to .y4m first.",
        )
    return RawLayout(int(named[1]), int(named[2]), rate=float(named[3] or 0) or float(DEFAULT_RATE))


# --- which files of a folder are videos: by their content, as FFmpeg sees it ---

# Names that promise a video: where the content does not keep it, that is worth telling.
VIDEO_SUFFIXES = {
    *MUXERS,
    ".y4m",
    ".mpg",
    ".mpeg",
    ".m2v",
    ".vob",
    ".wmv",
    ".flv",
    ".3gp",
    ".ogv",
    ".ivf",
    ".obu",
}
# What FFmpeg opens as video and is none: lists of other files, single images.
LISTS = {"hls", "concat", "concatf", "dash", "sdp", "image2", "ico"}
# Lists may name files on other machines: looking into a folder must not call these up.
LOCAL_ONLY = {"protocol_whitelist": "file"}


def is_video(path: Path) -> bool:
    """Whether a file holds a video, or is damaged and named like one (so that the damage is reported)."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return False
    try:
        with open_input(path, options=LOCAL_ONLY) as container, reading(path):
            name = container.format.name
            return not (name in LISTS or name.endswith("_pipe")) and _has_pictures(container, path)
    except VqeError:
        return path.suffix.lower() in VIDEO_SUFFIXES


def _has_pictures(container: InputContainer, path: Path) -> bool:
    try:
        return video_stream(container, path).width > 0
    except VqeError:
        return False


# --- whether a file is still what it was ---

# Read at both ends of a file to tell it from another one of the same size and time.
END_BYTES = 1 << 16
# For `vqe enhance`, which keeps finished segments of the input as it was.
RESUME = "Put it back as it was to go on, or begin anew with --restart when it is as it should be."


def fingerprint(path: Path) -> list[Any]:
    """Size, time and a hash of both ends; for images all names, sizes and times, hashed. JSON can hold it.

    Raises VqeError for a file that is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        images = image_files(path)
        for image in images:
            found = image.stat()
            digest.update(b"%s\0%d\0%d\0" % (_bytes(image.name), found.st_size, found.st_mtime_ns))
        if images:
            return [len(images), digest.hexdigest()]
        found = path.stat()
        with path.open("rb") as file:
            digest.update(file.read(END_BYTES))
            file.seek(max(0, found.st_size - END_BYTES))
            digest.update(file.read(END_BYTES))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.", "Check the name and the folder.") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.", "Check the file and its disk."
        ) from error
    return [found.st_size, found.st_mtime_ns, digest.hexdigest()]


class Unchanged:
    """Files as they are now, compared with what they are later: `check` before a result gets its name.

    remedy: what to do where they have changed. `before`: their fingerprints, by path. Raises VqeError for a
    file that is not there.
    """

    def __init__(self, *paths: Path, remedy: str = "Run again when it is as it should be.") -> None:
        self._remedy = remedy
        self.before = {path: fingerprint(path) for path in paths}

    def check(self) -> None:
        """Raises VqeError where a file was cut short, replaced or removed since."""
        for path, before in self.before.items():
            if _changed(path, before):
                raise InputError(f"{path} has changed while it was read.", self._remedy)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """An error within the block becomes that of `check` where that is its cause."""
        try:
            yield
        except Exception as error:
            try:
                self.check()
            except VqeError as changed:
                raise changed from error
            raise


def _changed(path: Path, before: list[Any]) -> bool:
    try:
        return fingerprint(path) != before
    except VqeError:
        return True


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
