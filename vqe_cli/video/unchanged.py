"""Whether a file is still what it was: an input that is cut short or replaced while it is read is noticed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqe_cli.errors import InputError, VqeError
from vqe_cli.video.images import image_files

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

    remedy: what to do where they have changed. Raises VqeError for a file that is not there.
    """

    def __init__(self, *paths: Path, remedy: str = "Run again when it is as it should be.") -> None:
        self._remedy = remedy
        self._before = {path: fingerprint(path) for path in paths}

    def check(self) -> None:
        """Raises VqeError where a file was cut short, replaced or removed since."""
        for path, before in self._before.items():
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
