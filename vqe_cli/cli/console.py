"""Results to stdout, all else to stderr, and the one place that maps errors to exit codes."""

import functools
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import typer

from vqe_cli.errors import OutOfMemory, VqeError, explained
from vqe_cli.files import is_stream, write_text
from vqe_cli.machine import address_space_limit
from vqe_cli.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn


INTERRUPTED = 130
MIB = 2**20
# Address space that Python, FFmpeg and NumPy take when `vqe inspect` starts: 300 MiB; networks take 1200 MiB.
LEAST = 256 * MIB
# Share of the limit from which on a failure is put down to it.
SPENT = 0.9
STATUS = Path("/proc/self/status")
Result = TypeVar("Result")


def messages() -> "Console":
    """The console for progress, warnings and summaries: stderr, in colour only where that is wanted."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def results() -> "Console":
    """The console for what the user asked for: stdout."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def plain_column(format: str) -> "TextColumn":
    """A column of a progress bar whose text is no markup: names may hold brackets."""
    from rich.progress import TextColumn

    return TextColumn(format, markup=False)


def say(text: object) -> None:
    """One plain line to stderr; where that is closed or full, nothing is printed."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def show(*lines: object) -> None:
    """Plain lines to stdout."""
    for line in lines:
        print(printable(line))


def write_json(document: Any, target: Path) -> None:
    """One JSON document into a file, or to stdout where the target is `-`.

    Raises VqeError when the file cannot be written.
    """
    from vqe_cli.documents import json_text

    _write(json_text(document, indent=2), target)


def write_lines(documents: Iterable[Any], target: Path) -> None:
    """JSON lines into a file or, where the target is `-`, to stdout; raises VqeError as `write_json` does."""
    from vqe_cli.documents import json_text

    _write("\n".join(json_text(document) for document in documents), target)


def _write(text: str, target: Path) -> None:
    if str(target) == "-":
        print(text)
        return
    write_text(target, text + "\n")


def check_target(target: Path | None) -> None:
    """Raises VqeError where a report could not be written to `target`, before a long run and not after it."""
    if target is None or str(target) == "-" or is_stream(target):
        return
    folder = target.absolute().parent
    if target.is_dir() or not folder.is_dir():
        raise VqeError(f"cannot write the report {target}.", "Name a file in a folder that exists.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise VqeError(f"cannot write the report {target}.", "Choose a folder that can be written to.")


def guarded(command: Callable[..., Result]) -> Callable[..., Result]:
    """`command` with errors shown as sentences: exit code 1, 130 after Ctrl-C; tracebacks with `debug`."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Result:
        debug = bool(kwargs.get("debug"))
        try:
            check_memory_limit()
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as foreign:
            _show_traceback(debug)
            error = explained(foreign)
            if not isinstance(error, VqeError) and memory_is_spent():
                error = OutOfMemory()  # in the disguise of whatever failed for it
            if isinstance(error, VqeError):
                say(f"error: {error}")
                raise typer.Exit(1) from None
            remedy = "" if debug else " Run again with --debug to see where, and report it."
            say(f"error: something went wrong inside vqe ({type(error).__name__}: {error}).{remedy}")
            raise typer.Exit(1) from None

    return run


def bear_any_text() -> None:
    """Let output that cannot hold a character (é in ASCII) hold its escape, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does, so that unfinished files are removed.

    A second one does not disturb that. SIGHUP stays ignored where it is (nohup).
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def end(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


class Results:
    """Standard output; VqeError where it cannot be written to, as with a full disk behind it.

    What is still to be written then goes nowhere, so that Python does not fail at it once more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes as the stream does."""
        with self._explained():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flushes the stream."""
        with self._explained():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise  # whoever read it has seen enough
        except OSError as error:
            with suppress(OSError, ValueError):  # where it is not a system file
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            raise VqeError(
                f"the results cannot be written to standard output ({error.strerror}).",
                "Send them to a place that has room.",
            ) from error


@contextmanager
def results_to_stdout() -> Iterator[None]:
    """The program, whose end is also an error where stdout has not taken all results."""
    if sys.stdout is not None:
        sys.stdout = cast(TextIO, Results(sys.stdout))
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except VqeError as error:
        say(f"error: {error}")
        sys.exit(1)


def _show_traceback(wanted: bool) -> None:
    if wanted:
        for line in traceback.format_exc().splitlines():
            say(line)


def check_memory_limit() -> None:
    """Raises OutOfMemory where `ulimit -v` is too low for any command; NumPy shall take less under one.

    Below what libraries take to start, some end the program themselves (OpenBLAS), others fail in disguise.
    """
    limit = address_space_limit()
    if limit is None:
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread takes 32 MiB when it starts
    if limit < LEAST:
        raise OutOfMemory(
            f"this process may take only {limit // MIB} MiB of memory, which is not enough memory.",
            "Raise the limit (ulimit -v) to 2 GiB or more.",
        )


def memory_is_spent() -> bool:
    """Whether this process has taken nearly all that it may."""
    limit = address_space_limit()
    with suppress(OSError, ValueError, StopIteration):
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        peak = next(line for line in lines if line.startswith("VmPeak:"))
        return limit is not None and int(peak.split()[1]) * 1024 > SPENT * limit
    return False
