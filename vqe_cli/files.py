"""What every room needs of the disk: files that are written aside and renamed, hashes, locks, folders of the
user.

Nothing that is not ours is touched: what is written aside is created new under a name that nobody can guess,
links are not followed, and only what a run of vqe has left behind is removed.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import platformdirs

from vqe_cli.errors import OutputError, VqeError

PART = ".part"
NAME_BYTES = 255  # of a file name, on all file systems in use
TOKEN_BYTES = 8
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# What the system says where the medium is at fault, and not a file.
DISK_FAULTS = (errno.EIO, errno.ENXIO, errno.ENODEV, getattr(errno, "ESTALE", errno.EIO))
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# What file systems say that have no hard links, no locks, or nothing to force to the disk.
UNSUPPORTED = (
    errno.EPERM,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EMLINK,
)
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
WINDOWS = os.name == "nt"
# Names of streams that are open already; what lies behind them may look like a file.
STREAM = re.compile(r"/dev/(std(in|out|err)|fd/\d+)|/proc/[^/]+/fd/\d+")


class Aside:
    """A file, or a folder, that is written under another name and gets its own when it is complete.

    with Aside(path) as place: torch.save(state, place)

    `place` lies beside `path`, is created new and empty, and is locked while it is written, by which the next
    `Aside` for the same path knows what a killed process has left there and removes it. Leaving the block
    forces the file to the disk and renames it; leaving it by an exception removes it.

    overwrite: whether a file may be replaced that is there when this one is complete. folder: `place` is a
    folder, and what is in it moves to the folder `path`. within: where `place` lies, on the same disk.
    Where `path` is a pipe or a device, the complete file is written to it.
    Raises OSError; FileExistsError where something is there that may not be replaced.
    """

    def __init__(
        self, path: Path, overwrite: bool = True, folder: bool = False, within: Path | None = None
    ) -> None:
        self.path = path.absolute()
        self._overwrite = overwrite
        lies = (within or self.path.parent) / self.path.name
        remove_left_over(lies.parent, lies.name)
        self.place, self._lock = _created(lies, folder)

    def __enter__(self) -> Path:
        return self.place

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.publish()
        finally:
            self.discard()

    def publish(self) -> None:
        """Gives the complete file its name, once it is on the disk."""
        if self.place.is_dir():
            self._publish_contents()
            return
        if is_stream(self.path):
            with self.place.open("rb") as complete, self.path.open("wb") as stream:
                shutil.copyfileobj(complete, stream)
            return
        sync(self.place)
        if WINDOWS:
            self._release()  # no file is renamed there that is open
        move(self.place, self.path, self._overwrite)
        self._release()
        sync(self.path.parent)

    def discard(self) -> None:
        """Removes what is still there under the other name."""
        if WINDOWS:
            self._release()
        if self.place.is_dir():
            shutil.rmtree(self.place, ignore_errors=True)
        else:
            self.place.unlink(missing_ok=True)
        self._release()

    def _publish_contents(self) -> None:
        """Moves the files in the folder, which must be on the disk already."""
        self.path.mkdir(exist_ok=True)
        written = sorted(self.place.iterdir())
        taken = [each.name for each in written if os.path.lexists(self.path / each.name)]
        if taken and not self._overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), taken[0])
        for each in written:
            move(each, self.path / each.name, self._overwrite)
        sync(self.path)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def write_bytes(path: Path, content: bytes, overwrite: bool = True) -> None:
    """Write a whole file so that its name never holds half of it; devices and pipes are written to directly.

    Raises VqeError when that is not possible.
    """
    try:
        if is_stream(path):
            with path.open("wb") as stream:
                stream.write(content)
        else:
            with Aside(path, overwrite) as place:
                place.write_bytes(content)
    except OSError as error:
        raise write_error(error, path) from error


def write_text(path: Path, text: str, overwrite: bool = True) -> None:
    """The same with text, as UTF-8; what UTF-8 cannot hold (names in other bytes) is escaped: \\udc80."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), overwrite)


def is_stream(path: Path) -> bool:
    """Whether the path names a device, a pipe or an open stream, which can be written to but not replaced."""
    if STREAM.fullmatch(str(path.absolute())):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def move(source: Path, target: Path, overwrite: bool) -> None:
    """Renames a file within its file system.

    Raises OSError; FileExistsError where `target` is there and may not be replaced.
    """
    if overwrite:
        os.replace(source, target)
    elif WINDOWS:
        os.rename(source, target)
    else:
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
            os.rename(source, target)
        else:
            os.unlink(source)


def sync(path: Path) -> None:
    """Forces a file, or what a folder lists, to the disk."""
    if path.is_dir():
        if WINDOWS:
            return  # Windows opens no folders
        flags = os.O_RDONLY
    else:
        flags = os.O_RDWR
    try:
        descriptor = os.open(path, flags)
    except PermissionError:
        return  # a folder that may be written to but not listed
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def no_link(name: str, flags: int) -> int:
    """An opener for `open` that takes regular files only, and follows no link; raises OSError for others."""
    descriptor = os.open(name, flags | NO_FOLLOW | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", name)
    return descriptor


def lock(descriptor: int, wait: bool = False) -> bool:
    """Locks an open file for this process until it is closed; whether that was possible.

    The lock is the operating system's and ends with the process, however that ends. Raises OSError where
    there are no locks.
    """
    import filelock  # takes a while, and listing or completing names locks nothing

    return filelock.lock_descriptor(descriptor, blocking=wait)


@contextmanager
def appending(path: Path) -> Iterator[int]:
    """A descriptor to append to a file with, for as long as no other process does; links are not followed.

    Raises OSError.
    """
    descriptor = no_link(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        with suppress(OSError):  # no locks here: whole lines at once are what can be done
            lock(descriptor, wait=True)
        yield descriptor
    finally:
        os.close(descriptor)


def append_line(path: Path, line: bytes) -> None:
    """Adds a line to a file that other processes add to as well, and forces it to the disk.

    Half a line that a crash left behind is ended first; a line that does not fit is taken back. Links are
    not followed. Raises OSError.
    """
    with appending(path) as descriptor:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        os.lseek(descriptor, max(0, size - 1), os.SEEK_SET)
        left = (b"\n" if os.read(descriptor, 1) not in (b"", b"\n") else b"") + line + b"\n"
        try:
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise


def remove_left_over(folder: Path, name: str | None = None) -> None:
    """Removes what processes that are gone have written aside in a folder, for the file `name` or for all."""
    begin = r"\..+\." if name is None else re.escape(_begin(name))
    ours = re.compile(rf"{begin}[0-9a-f]{{{2 * TOKEN_BYTES}}}{re.escape(PART)}", re.DOTALL)
    with suppress(OSError):  # a folder that cannot be listed
        for found in [entry.name for entry in os.scandir(folder) if ours.fullmatch(entry.name)]:
            with suppress(OSError):  # in use, or not ours
                _remove_unlocked(folder / found)


@contextmanager
def unicode_name(path: Path) -> Iterator[str]:
    """A name for a file, to be read, that is Unicode: some libraries take no other. Raises OSError."""
    name = str(path)
    if not any("\udc80" <= letter <= "\udcff" for letter in name):
        yield name
        return
    with path.open("rb") as file:
        yield f"/dev/fd/{file.fileno()}"


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where fetched files lie: $XDG_CACHE_HOME/vqe or ~/.cache/vqe on Linux. It need not exist."""
    return platformdirs.user_cache_path("vqe", appauthor=False)


def config_folder() -> Path:
    """The user's configuration: $XDG_CONFIG_HOME/vqe or ~/.config/vqe on Linux. It need not exist."""
    return platformdirs.user_config_path("vqe", appauthor=False, roaming=True)


def beside(path: Path, suffix: str, prefix: str = "") -> Path:
    """A name beside `path` that is made of its own; where that were too long, of its beginning and a hash."""
    name = os.fsencode(path.name)
    room = NAME_BYTES - len(os.fsencode(prefix + suffix))
    if len(name) > room:
        digest = hashlib.sha256(name).hexdigest()[:16]
        begins = name[: room - len(digest) - 1].decode("utf-8", "ignore")
        return path.with_name(f"{prefix}{begins}-{digest}{suffix}")
    return path.with_name(f"{prefix}{path.name}{suffix}")


def write_error(error: Exception, path: Path) -> VqeError:
    """What an error of the operating system or of FFmpeg (both have an errno) while writing means."""
    code, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or error
    if code in FULL:
        return OutputError(
            f"the disk is full; {path} could not be completed and was removed.",
            remedy="Free some space, or choose an output on another disk.",
        )
    if code == errno.EEXIST:
        found = path / Path(getattr(error, "filename", None) or "").name if path.is_dir() else path
        return OutputError(
            f"{found} has appeared while it was written, and is left as it is.",
            remedy="Choose another name, or give --overwrite.",
        )
    if code == errno.EPIPE:
        return OutputError(
            f"What reads from {path} stopped before the end.", remedy="See what it says, and run again."
        )
    if code == errno.ENAMETOOLONG:
        return OutputError(f"the name {path.name} is too long.", remedy="Choose a shorter one.")
    if code == errno.ELOOP:
        return OutputError(
            f"{path} is a link, and is not written through.", remedy="Remove it, or choose another place."
        )
    if code in FORBIDDEN:
        remedy = "Choose a place that can be written to."
    else:
        remedy = "Check the disk." if code in DISK_FAULTS else "Choose another place or another kind of file."
    return OutputError(f"{path} cannot be written: {reason}.", remedy=remedy)


def _begin(name: str) -> str:
    """How the names begin under which a file of that name is written aside."""
    end = "0" * 2 * TOKEN_BYTES + PART
    return beside(Path(name), f".{end}", ".").name.removesuffix(end)


def _created(path: Path, folder: bool) -> tuple[Path, int | None]:
    """A new file or folder, and the descriptor that locks it (None where folders cannot be opened)."""
    while True:
        place = path.with_name(_begin(path.name) + secrets.token_hex(TOKEN_BYTES) + PART)
        try:
            if folder:
                place.mkdir()
            else:
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o666))
            if folder and WINDOWS:
                return place, None
            descriptor = os.open(place, (os.O_RDONLY if folder else os.O_RDWR) | NO_FOLLOW)
        except FileExistsError:
            continue
        except FileNotFoundError:
            if path.parent.is_dir():
                continue  # taken for left over by another process, before it was locked
            raise
        if not WINDOWS:  # where no file is removed that is open, and a locked one cannot be written
            with suppress(OSError):  # no locks here: nothing is taken for left over then
                lock(descriptor)
        if os.path.lexists(place):
            return place, descriptor
        os.close(descriptor)


def _remove_unlocked(place: Path) -> None:
    """Removes a file or a folder of this user that nobody has locked; OSError where that is unknown."""
    found = place.lstat()
    is_folder = stat.S_ISDIR(found.st_mode)
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return
    if not (is_folder or stat.S_ISREG(found.st_mode)):
        return
    if WINDOWS:
        place.unlink()
        return
    descriptor = os.open(place, (os.O_RDONLY if is_folder else os.O_RDWR) | NO_FOLLOW)
    try:
        if lock(descriptor):
            shutil.rmtree(place) if is_folder else place.unlink()
    finally:
        os.close(descriptor)
