"""Errors that a user can cause. The tree:

    Exception
    └── VqeError            one sentence and its remedy; the command line prints both and exits 1
        ├── InputError      a file that is missing, damaged, or not what is needed
        ├── OutputError     what cannot be written: names, containers, encoders, full disks
        ├── SettingsError   options, configurations and their contradictions
        ├── WeightsError    pipelines, files of weights, weights.toml
        ├── DeviceError     a device that is not there or has too little memory
        └── OutOfMemory     memory has run out, whoever noticed it

What a user cannot cause is an assertion or another exception, and shows as a traceback.
"""

import difflib
import re
import reprlib
from collections.abc import Iterable

from vqe_cli.text import printable

# How libraries say that memory has run out, where they have no class for it: PyTorch's allocators, C++, the
# system, its loader of libraries, NumPy, Python's threads.
NO_MEMORY = re.compile(
    r"out of memory|can(no|')t allocate memory|bad_alloc|failed to map segment|unable to allocate"
    r"|not enough memory|memory allocation|alloc_failed|can't start new thread",
    re.IGNORECASE,
)
LONGEST_VALUE = 60  # characters of a value that a message quotes
LONGEST_NAME = 100  # characters of a name that are compared with known ones


class VqeError(Exception):
    """What happened, to which file, and what to do about it.

    `message` is one sentence that names the file or value; `remedy` is one sentence that says what to do (""
    if there is nothing to do). `str(error)` is both. Names and tags in them are made printable.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = printable(message)
        self.remedy = printable(remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InputError(VqeError):
    """A file cannot be read, or is not what is needed."""


class OutputError(VqeError):
    """The result cannot be written where or as it should be."""


class SettingsError(VqeError):
    """An option or configuration does not exist, has a wrong value, or contradicts another."""


class WeightsError(VqeError):
    """A pipeline or its files of weights are unknown, damaged, or do not fit."""


class DeviceError(VqeError):
    """A device is not there, or cannot do what is asked."""


class OutOfMemory(VqeError):
    """Memory has run out."""

    def __init__(
        self,
        message: str = "there is not enough memory.",
        remedy: str = "Free some; for enhance, use a smaller --tile, then a smaller --chunk.",
    ) -> None:
        super().__init__(message, remedy)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, or was caused by one that does."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | OutOfMemory):
            return True
        if not isinstance(cause, VqeError) and NO_MEMORY.search(str(cause)):
            return True
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def explained(error: Exception) -> Exception:
    """The error itself, or `OutOfMemory` where that is what happened, whatever was made of it."""
    return OutOfMemory() if is_out_of_memory(error) and not isinstance(error, OutOfMemory) else error


def unexpected(error: Exception, alone: str) -> VqeError:
    """What ended the work on one file of several, as a sentence also where no user caused it.

    alone: what shows more, "Enhance this file by itself".
    """
    error = explained(error)
    if isinstance(error, VqeError):
        return error
    return VqeError(
        f"something went wrong inside vqe ({type(error).__name__}: {error}).",
        f"{alone} with --debug to see where, and report it.",
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the known name most like it, or all of them."""
    names = sorted(set(known))
    close = nearest(name, names)
    return f"Did you mean {close!r}?" if close else f"Known are {', '.join(names) or 'none'}."


def nearest(name: str, known: Iterable[str], likeness: float = 0.5) -> str | None:
    """The known name most like `name`, None where none is as like (0 … 1, difflib's ratio)."""
    names = sorted(set(known))
    return next(iter(difflib.get_close_matches(name[:LONGEST_NAME], names, n=1, cutoff=likeness)), None)


def shortened(value: object, most: int = LONGEST_VALUE) -> str:
    """A value as a message quotes it: as Python writes it, escaped, on one line, of about `most` characters.

    Nothing longer is made on the way: a tree or text of any size may be given.
    """
    if isinstance(value, int) and value.bit_length() > 4 * most:
        return f"a number of {value.bit_length()} bits"
    short = reprlib.Repr()
    short.maxstring = short.maxother = most
    text = short.repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
