"""Errors that a user can cause. The tree:

    Exception
    └── VqeError            one sentence and its remedy; the command line prints both and exits 1

What a user cannot cause is an assertion or another exception, and shows as a traceback.
"""

import difflib
import reprlib
from collections.abc import Iterable

from vqe_cli.text import printable

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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the known name most like it, or all of them."""
    names = sorted(set(known))
    close = nearest(name, names)
    return f"Did you mean {close!r}?" if close else f"Known are {', '.join(names) or 'none'}."


def nearest(name: str, known: Iterable[str], likeness: float = 0.5) -> str | None:
    """The known name most like `name`, None where none is as like (0 … 1, difflib's ratio)."""
    names = sorted(set(known))
    names, name = sorted(set(known)), name[:LONGEST_NAME]
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=likeness)), None)


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
