"""The one way in: every input is opened here, its picture stream is chosen here, and whatever PyAV, numpy or
the system raises for a bad file becomes one sentence here.
"""

import codecs
import errno
import logging
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import av
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.stream import VideoStream

from vqe_cli.errors import InputError, OutOfMemory, VqeError
from vqe_cli.files import DISK_FAULTS
from vqe_cli.text import as_argument
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.pipes import STDIN, standard_input

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"}

# FFmpeg draws text files as terminals would show them; nobody means that.
TEXT_FORMATS = {"tty", "bin", "xbin", "adf", "idf"}

# What foreign code raises for a bad file. A fault of our own may be among them: --debug shows where it arose.
FOREIGN = (
    av.error.FFmpegError,
    OSError,
    ValueError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    TypeError,
)

KINDS_OF_FILES: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

FIRST_PICTURES = 5
Item = TypeVar("Item")

TAG_ERRORS = "vqe-windows-1252"
_LOG_LOCK = threading.Lock()


def check_readable(path: Path) -> None:
    """Raises VqeError unless `path` is a regular file with something in it."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(
                f"{path} is a folder.", remedy="Name a video file, or a folder with PNG or JPEG images."
            )
        for is_kind, name in KINDS_OF_FILES:
            if is_kind(status.st_mode):
                raise InputError(
                    f"{path} is {name}, and inputs are read more than once.",
                    remedy="Write the video to a file first; `vqe enhance -` reads standard input.",
                )
        if status.st_size == 0:
            raise InputError(f"{path} is empty (0 bytes).", remedy="Copy or download it again.")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def open_input(
    path: Path, container_format: str | None = None, options: Mapping[str, str] | None = None
) -> InputContainer:
    """The file opened by FFmpeg; container_format and options are for files that do not describe themselves.

    Names are taken literally, whatever is in them, and tags are decoded as well as can be. Raises VqeError
    for what is missing, empty, not readable or not media.
    """
    if path == STDIN:
        standard_input().open()  # what it raises is said as it is
    else:
        check_readable(path)
    try:
        container = _opened(path, container_format, options)
    except FOREIGN as error:
        words = _log_of(lambda: _opened(path, container_format, options).close())
        raise unreadable(path, error, words) from error
    with reading(path):
        is_text = container_format is None and container.format.name in TEXT_FORMATS
    if is_text:
        container.close()
        raise InputError(f"{path} is text and no video.", remedy="Name a video file.")
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture.

    Raises VqeError where there is none.
    """
    covers = 0
    for stream in container.streams.video:
        if Disposition.attached_pic in stream.disposition:
            covers += 1
        elif stream.codec_context is None:
            raise InputError(
                f"{path}: no decoder for its video stream.", remedy="Convert it to HEVC or H.264 first."
            )
        else:
            return stream
    kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
    found = " and ".join([*kinds, *(["a cover picture"] if covers else [])]) or "nothing"
    raise InputError(f"{path} has no video stream, only {found}.", remedy="Name a file with video in it.")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises what PyAV, numpy or the system raise for the file meanwhile as a VqeError that names it."""
    try:
        yield
    except FOREIGN as error:
        raise unreadable(path, error) from error


def each_reading(path: Path, items: Iterable[Item]) -> Iterator[Item]:
    """The items, which are read from the file on the way; raises VqeError as `reading` does."""
    with reading(path):
        yield from items


def words_on_decoding(path: Path) -> str:
    """What FFmpeg logs first as an error while it decodes the beginning of a file, "" where nothing."""

    def decode() -> None:
        with _opened(path, None, None) as container:
            stream = video_stream(container, path)
            for _ in zip(container.decode(stream), range(FIRST_PICTURES), strict=False):
                pass

    return _log_of(decode)


def unreadable(path: Path, error: BaseException, words: str = "") -> VqeError:
    """The sentence for a file that cannot be read. words: what FFmpeg says of it, where it says something."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError):
        return OutOfMemory(
            f"{path} takes more memory than there is.", "Check that it is intact, or free some."
        )
    if number in (errno.ENOENT, errno.ENOTDIR):
        return InputError(f"{path} does not exist.", remedy="Check the name and the folder.")
    if number in (errno.EACCES, errno.EPERM):
        return InputError(f"{path} cannot be read: {_cause(error)}.", "Check the permissions of the file.")
    if number in DISK_FAULTS:
        return InputError(f"{path} cannot be read: {_cause(error)}.", "Check the disk.")
    if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
        return InputError(f"{path} cannot be read: {_cause(error)}.", "Check the name and the file system.")
    cause = "; ".join(dict.fromkeys(filter(None, [_cause(error), words])))
    if not isinstance(error, av.error.FFmpegError):
        return InputError(
            f"{path} cannot be read ({type(error).__name__}: {cause}).",
            "Check that the file is intact; if it is, --debug shows where this happened: report it.",
        )
    return InputError(
        f"{path} is not a video that FFmpeg can read ({cause}).",
        remedy="Check that it is a video file and complete; `ffprobe` on it says more.",
    )


def _cause(error: BaseException) -> str:
    """What was raised, in the words of who raised it."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason).strip().rstrip(".")


def _opened(path: Path, container_format: str | None, options: Mapping[str, str] | None) -> InputContainer:
    """An absolute name begins like no protocol; without patterns FFmpeg reads just the file of that name."""
    return av.open(
        standard_input().open() if path == STDIN else str(path.absolute()),
        "r",
        format=container_format,
        options={"pattern_type": "none", **(options or {})},
        metadata_errors=TAG_ERRORS,
    )


def _log_of(work: Callable[[], None]) -> str:
    """What FFmpeg logs first as an error while it does some work (again), "" where it logs nothing.

    FFmpeg's log is off otherwise: listening to it makes its threads wait for the interpreter.
    """
    with _LOG_LOCK:
        before, repeated = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.ERROR)
        try:  # the first catches what other threads log, lest it be printed
            with av.logging.Capture(local=False), av.logging.Capture() as lines, _ignored():
                work()
        finally:
            av.logging.set_level(before)
            av.logging.set_skip_repeated(repeated)
    said = [message.strip().rstrip(".") for level, _, message in lines if level <= av.logging.ERROR]
    return next(filter(None, said), "")


@contextmanager
def _ignored() -> Iterator[None]:
    """For work that is known to fail."""
    try:
        yield
    except (*FOREIGN, VqeError) as error:
        logging.getLogger(__name__).debug("failed again: %s", error)


def _from_windows(error: UnicodeError) -> tuple[str, int]:
    """Decodes what is not UTF-8 as Windows-1252, in which most such tags were written."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


def _unknown_side_data(kind: type[Type], value: object) -> Type:
    """A member for a kind of side data that PyAV does not know: one such entry (EXIF of a JPEG, the view of a
    multiview stream) would hide all others of its picture.
    """
    member = object.__new__(kind)
    member._name_ = f"UNKNOWN_{value}"
    member._value_ = value  # type: ignore[assignment]
    return member


codecs.register_error(TAG_ERRORS, _from_windows)
Type._missing_ = classmethod(_unknown_side_data)  # type: ignore[assignment]


# --- videos that are not enhanced, each with the command that makes them fit ---

ANIMATED = 1 << 1


def interlaced(path: Path, index: int | None = None) -> VqeError:
    """Two fields of different times in a picture, from picture `index` on (None: as the header says)."""
    where = "" if index is None else f" from picture {index} on"
    return InputError(
        f"{path} is interlaced{where}, which would be enhanced wrongly.",
        remedy="Enhance it with --deinterlace (or --deinterlace double: a frame for each field), or film "
        f"with --detelecine; elsewhere deinterlace it first: ffmpeg -i {as_argument(path)} -vf bwdif "
        "-c:v ffv1 -c:a copy PROGRESSIVE.mkv",
    )


def size_change(info: VideoInfo, index: int, width: int, height: int) -> VqeError:
    """Picture `index` has another size, in pixels, than the pictures before."""
    return InputError(
        f"{info.path} changes its picture size at picture {index}, from {info.width}x{info.height} to "
        f"{width}x{height}.",
        remedy=f"Give it one size first: ffmpeg -i {as_argument(info.path)} "
        f"-vf scale={info.width}:{info.height} -c:v ffv1 -c:a copy ONE_SIZE.mkv",
    )


def format_change(info: VideoInfo, index: int, pix_fmt: str) -> VqeError:
    """Picture `index` has another pixel format than the pictures before."""
    return InputError(
        f"{info.path} changes its pixel format at picture {index}, from {info.pix_fmt} to {pix_fmt}.",
        remedy=f"Give it one format first: ffmpeg -i {as_argument(info.path)} -pix_fmt {info.pix_fmt} "
        "-c:v ffv1 -c:a copy ONE_FORMAT.mkv",
    )


def undecodable(path: Path) -> VqeError:
    """A file of which no picture can be decoded."""
    head = b""
    if path != STDIN:
        with path.open("rb") as file:
            head = file.read(21)
    # Container specification of WebP: the flags of the first chunk, VP8X.
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20:] and head[20] & ANIMATED:
        return InputError(
            f"{path} is an animated WebP, which FFmpeg cannot decode here.",
            remedy=f"Make images of it first, with ImageMagick: mkdir PICTURES && magick "
            f"{as_argument(path)} -coalesce PICTURES/%05d.png",
        )
    words = words_on_decoding(path)
    return InputError(
        f"{path} holds no picture that can be decoded{f' ({words})' if words else ''}.",
        remedy="The file is damaged or incomplete; get an intact copy.",
    )
