"""Errors that a user can cause. The tree:

    Exception
    └── VqeError            one sentence and its remedy; the command line prints both and exits 1

What a user cannot cause is an assertion or another exception, and shows as a traceback.
"""

import difflib
from collections.abc import Iterable


class VqeError(Exception):
    """What happened, to which file, and what to do about it.

    `message` is one sentence that names the file or value; `remedy` is one sentence that says what to do (""
    if there is nothing to do). `str(error)` is both.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the known name most like it, or all of them."""
    names = sorted(set(known))
    close = nearest(name, names)
    return f"Did you mean {close!r}?" if close else f"Known are {', '.join(names) or 'none'}."


def nearest(name: str, known: Iterable[str], likeness: float = 0.5) -> str | None:
    """The known name most like `name`, None where none is as like (0 … 1, difflib's ratio)."""
    return next(iter(difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=likeness)), None)
