"""A folder of videos and the same tree of better ones: which files there are, and what they become."""

import os
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from vqe_cli.errors import SettingsError, VqeError
from vqe_cli.runs.journal import SUFFIX
from vqe_cli.runs.settings import Settings, option_name
from vqe_cli.video.opening import IMAGE_SUFFIXES
from vqe_cli.video.pipes import STDOUT
from vqe_cli.video.sources import is_video

# Containers that an enhanced video may keep; bare streams and older ones become Matroska, and so does WebM
# unless the codec is one that it may hold.
KEPT = {".mkv", ".mp4", ".m4v", ".mov", ".avi", ".ts", ".m2ts", ".mts", ".nut", ".mxf", ".y4m"}
WEBM_CODECS = ("libvpx", "libvpx-vp9", "libsvtav1", "libaom-av1")

FOLDER_OPTIONS = ("pattern", "suffix", "container")


def is_tree(settings: Settings) -> bool:
    """Whether the input is a folder of videos, and not a folder that is one clip of images.

    It is one clip where it directly holds images and no videos, and these are numbered or all that it holds;
    a pattern, which chooses among videos, makes it a tree.
    """
    folder = settings.input
    if not folder.is_dir():
        return False
    if settings.pattern is not None:
        return True
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise _unreadable(folder, error) from error
    images = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    if not images:
        return True
    if any(entry.is_file() and is_video(entry) for entry in entries):
        return True
    numbered = any(image.stem[-1:].isdecimal() for image in images)
    return not numbered and len(images) < len(entries)


def refuse_folder_options(settings: Settings, given: Iterable[str]) -> None:
    """Raises SettingsError where `given`, names of options, are for folders and the input is a single one."""
    piped = ("container",) if settings.output == STDOUT else ()
    single = [name for name in FOLDER_OPTIONS if name in given and name not in piped]
    if single and not is_tree(settings):
        raise SettingsError(
            f"{option_name(single[0])} is for folders of videos, and {settings.input} is not one.",
            f"Leave it out: the output's own name, {settings.output}, says what is written.",
        )


def videos_below(
    folder: Path, pattern: str | None, leave_out: Path
) -> tuple[list[Path], list[tuple[Path, VqeError]]]:
    """The videos below a folder, as paths relative to it, sorted; and folders that cannot be read, with why.

    pattern: a glob for names, or for relative paths where it holds a slash. leave_out: a folder that is not
    looked into, the output's. Hidden files and folders and those of unfinished runs are passed over; links to
    folders are followed, but no folder is looked into twice.
    Raises VqeError where there are no videos.
    """
    closed: list[tuple[Path, VqeError]] = []
    files = files_below(folder, pattern, leave_out, lambda place, error: closed.append((place, error)))
    found = [path for path in files if is_video(folder / path)]
    if not found:
        for _, error in closed:
            raise error
        which = f" that fit {pattern!r}" if pattern else ""
        raise VqeError(f"there are no videos below {folder}{which}.", "Check the folder and --pattern.")
    return sorted(found), closed


def files_below(
    folder: Path,
    pattern: str | None,
    leave_out: Path,
    close: Callable[[Path, VqeError], None] = lambda place, error: None,
) -> Iterator[Path]:
    """The files below a folder that fit the pattern, relative; arguments as of `videos_below`.

    close: called with each folder that cannot be read, and why.
    """
    return (path for path in _files(folder, leave_out, close) if _fits(path, pattern))


def written_as(relative: Path, settings: Settings) -> Path:
    """What the video becomes, relative to the output folder."""
    kept = relative.suffix
    if settings.container != "keep":
        kept = f".{settings.container}"
    elif kept.lower() not in KEPT and not (kept.lower() == ".webm" and settings.codec in WEBM_CODECS):
        kept = ".mkv"
    return relative.with_name(f"{relative.stem}{settings.suffix}{kept}")


def _files(folder: Path, leave_out: Path, close: Callable[[Path, VqeError], None]) -> Iterator[Path]:
    """Files below, relative; folders before links to folders, so that each has its real name.

    close: called with each folder that cannot be read, and why.
    """
    seen = {_key(leave_out)} if leave_out.is_dir() else set()
    waiting, linked = [Path()], list[Path]()
    while waiting or linked:
        place = waiting.pop() if waiting else linked.pop()
        try:
            key = _key(folder / place)
            entries = [] if key in seen else sorted(os.scandir(folder / place), key=lambda each: each.name)
        except OSError as error:
            close(place, _unreadable(folder / place, error))
            continue
        seen.add(key)
        for entry in entries:
            if entry.name.startswith(".") or entry.name.endswith(SUFFIX):
                continue
            if os.path.isdir(entry.path):
                (linked if entry.is_symlink() else waiting).append(place / entry.name)
            elif os.path.isfile(entry.path) or entry.is_symlink():  # a link to nothing is reported later
                yield place / entry.name


def _unreadable(folder: Path, error: OSError) -> VqeError:
    return VqeError(f"the folder {folder} cannot be read: {error.strerror}.", "Check its permissions.")


def _key(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _fits(path: Path, pattern: str | None) -> bool:
    if pattern is None:
        return True
    return fnmatchcase(path.as_posix() if "/" in pattern else path.name, pattern)
