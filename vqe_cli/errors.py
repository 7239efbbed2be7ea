"""Errors that a user can cause. The tree:

    Exception
    └── VqeError            one sentence and its remedy; the command line prints both and exits 1

What a user cannot cause is an assertion or another exception, and shows as a traceback.
"""


class VqeError(Exception):
    """What happened, to which file, and what to do about it.

    `message` is one sentence that names the file or value; `remedy` is one sentence that says what to do ("" if
    there is nothing to do). `str(error)` is both.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()
