"""Opening files with FFmpeg, so that whatever is wrong with them is said in one sentence."""

from collections.abc import Mapping
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vqe_cli.errors import VqeError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"}

# FFmpeg draws text files as terminals would show them; nobody means that.
TEXT_FORMATS = {"tty", "bin", "xbin", "adf", "idf"}


def check_readable(path: Path) -> None:
    """Raises VqeError unless `path` is a file with something in it."""
    if not path.exists():
        raise VqeError(f"{path} does not exist.", remedy="Check the name and the folder.")
    if path.is_dir():
        raise VqeError(
            f"{path} is a folder.", remedy="Name a video file, or a folder with PNG or JPEG images."
        )
    try:
        if path.stat().st_size == 0:
            raise VqeError(f"{path} is empty (0 bytes).", remedy="Copy or download it again.")
        path.open("rb").close()
    except OSError as error:
        raise VqeError(
            f"{path} cannot be read: {error.strerror}.", remedy="Check the permissions of the file."
        ) from error


def open_input(
    path: Path, container_format: str | None = None, options: Mapping[str, str] | None = None
) -> InputContainer:
    """The file opened by FFmpeg; container_format and options are for files that do not describe themselves.

    Raises VqeError for what is missing, empty, not readable or not media.
    """
    check_readable(path)
    try:
        container = av.open(str(path.absolute()), "r", format=container_format, options=dict(options or {}))
    except av.error.FFmpegError as error:
        raise VqeError(
            f"{path} is not a video that FFmpeg can read ({error.strerror}).",
            remedy="Check that it is a video file and complete; `ffprobe` on it says more.",
        ) from error
    if container_format is None and container.format.name in TEXT_FORMATS:
        container.close()
        raise VqeError(f"{path} is text and no video.", remedy="Name a video file.")
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
            raise VqeError(
                f"{path}: no decoder for its video stream.", remedy="Convert it to HEVC or H.264 first."
            )
        else:
            return stream
    kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
    found = " and ".join([*kinds, *(["a cover picture"] if covers else [])]) or "nothing"
    raise VqeError(f"{path} has no video stream, only {found}.", remedy="Name a file with video in it.")
