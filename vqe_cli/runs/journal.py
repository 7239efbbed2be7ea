"""What a run in segments has done so far: a work folder beside the output, with a journal of JSON lines.

Lines are only ever added, each group of them at once and forced to the disk, so that a crash loses at most
the last one. Kinds of lines:

    run      once, first: format, version, and what results depend on (`Identity`)
    frames   what is remembered of frames (`summaries.row_of`), from frame `first` on, without a gap
    segment  a segment is finished: number, first frame, frames, bytes and sha256 of its file
    joined   the output is complete under another name: its size and time, so that it is known again
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from vqe_cli import __version__
from vqe_cli.documents import MIB, DocumentError, Limits, expect, fits, json_text, parse_json, plain, table
from vqe_cli.errors import LONGEST_VALUE, OutputError, VqeError, shortened
from vqe_cli.files import PART, beside, lock, no_link, remove_left_over, sha256_of, write_error
from vqe_cli.restore.summaries import FrameSummary, row_of, summary_of
from vqe_cli.runs.report import Report
from vqe_cli.video.targets import place_beside

FORMAT = 1
LINE = Limits(bytes=64 * MIB)  # all frames of a segment, at most
MOST_BYTES = 1024 * MIB
MOST_CHANGES = 10  # named in one message
LONGEST_NAME = 200  # of what a run depends on, and the file that it is
# What lines hold beside their kind.
KINDS: dict[str, dict[str, Any]] = {
    "run": {"format": int, "vqe": str, "identity": dict},
    "frames": {"first": int, "rows": [list]},
    "segment": {
        "number": int,
        "first": int,
        "frames": int,
        "bytes": int,
        "sha256": str,
        "header": str,
        "warnings": [str],
    },
    "joined": {"bytes": int, "mtime_ns": int, "report": dict},
}
SUFFIX = ".vqe-work"
JOURNAL, LOCK, SEGMENT = "journal.jsonl", "lock", ".segment"
# What a run leaves in the folder: these, and segments that are not complete.
OURS = re.compile(rf"{JOURNAL}|{LOCK}|\d+{SEGMENT}|\.?\d+{SEGMENT}\.\w+{PART}")


@dataclass(frozen=True)
class Finished:
    """A finished segment."""

    number: int
    """From 0, in display order."""

    first: int
    """Index of its first frame."""

    frames: int
    """Frames written, duplicates included."""

    bytes: int
    """Size of its file."""

    sha256: str
    """Of its file, hex."""

    header: str
    """Hash of the coder's header, by which parts are known to fit together."""

    warnings: tuple[str, ...] = ()
    """What was noticed while it was made, one sentence each."""


def work_folder(place: Path) -> Path:
    """The work folder of an output: a file, or the folder that images go to."""
    return beside(place_beside(place) / place.name, SUFFIX)


@contextmanager
def claimed(folder: Path, output: Path) -> Iterator[None]:
    """Keeps the work folder for this process; afterwards it is removed unless a finished segment is in it.

    The lock is the operating system's and ends with the process, however that ends. Raises VqeError where
    another process has it, where the folder cannot be made, and where it holds what is not of vqe.
    """
    descriptor = _locked(folder, output)
    try:
        yield
    finally:
        with suppress(OSError):  # what is left is found again by the next run
            _remove_unless_begun(folder)
        os.close(descriptor)


def _locked(folder: Path, output: Path) -> int:
    """The descriptor of the lock."""
    while True:
        try:
            folder.mkdir(exist_ok=True)
            _check_ours(folder)
            descriptor = no_link(str(folder / LOCK), os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            if folder.parent.is_dir():
                continue  # removed by another process that has just ended
            raise OutputError(f"the folder {folder.parent} does not exist.", "Make it first.") from None
        except OSError as error:
            raise OutputError(
                f"the work folder {folder} cannot be made: {error.strerror}.",
                "Choose another place for the output.",
            ) from error
        try:
            free = lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise write_error(error, folder / LOCK) from error
        if not free:
            os.close(descriptor)
            raise OutputError(
                f"another process is writing {output} at this moment.",
                "Wait for it, or choose another name for the output.",
            )
        if (folder / LOCK).exists() and os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK)):
            return descriptor
        os.close(descriptor)  # the one that had it has just removed it


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether a file is one that runs leave in their work folder."""
    return entry.is_file(follow_symlinks=False) and OURS.fullmatch(entry.name) is not None


def _check_ours(folder: Path) -> None:
    """Raises VqeError for a link and for a folder with files of others; hidden ones (.DS_Store) are left."""
    with os.scandir(folder) as entries:
        foreign = sorted(each.name for each in entries if not (_is_ours(each) or each.name.startswith(".")))
    if folder.is_symlink() or foreign:
        why = "it is a link" if folder.is_symlink() else f"it holds {foreign[0]}"
        raise OutputError(
            f"{folder} is not a work folder of vqe: {why}.",
            "Move it away, or choose another name for the output.",
        )


def _remove_unless_begun(folder: Path) -> None:
    """Removes a claimed work folder without finished segments; with files of others it stays."""
    if any(folder.glob(f"*{SEGMENT}")):
        return
    try:
        lines = read_lines(folder / JOURNAL)
    except VqeError:
        lines = [{"kind": "damaged"}]  # whoever wrote it
    if not lines or lines[0]["kind"] == "run":
        forget(folder)
    (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()


def bytes_in(folder: Path) -> int:
    """What an unfinished run has written already."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sum(each.stat(follow_symlinks=False).st_size for each in entries if _is_ours(each))
    return 0


class Journal:
    """The journal of a work folder that this process keeps.

    identity: what results depend on, by name; values that JSON can hold. Raises VqeError where the folder was
    begun with others, by another version, or is damaged. May be used from several threads.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.finished: dict[int, Finished] = {}
        self.remembered: list[FrameSummary] = []
        self._path = folder / JOURNAL
        self._lock = Lock()
        self._pending: list[list[Any]] = []
        self._next_row: int | None = None
        remove_left_over(folder)
        lines = read_lines(self._path)
        if not lines:
            run = {"kind": "run", "format": FORMAT, "vqe": __version__, "identity": dict(identity)}
            self._append([run], begin=True)
        else:
            _check_run(lines[0], identity, folder)
            self._take(lines[1:])
            self._drop_torn_end()

    def file_of(self, number: int) -> Path:
        """Where a segment lies."""
        return self.folder / f"{number:05d}{SEGMENT}"

    def remember(self, summary: FrameSummary) -> None:
        """A frame was decoded; one that is new is written with the next finished segment."""
        with self._lock:
            if self._next_row is None:
                self._next_row = summary.frame.index
            if summary.frame.index >= self._next_row + len(self._pending):
                self._pending.append(row_of(summary))

    def finish(self, segment: Finished) -> None:
        """A segment's file is complete."""
        with self._lock:
            lines: list[dict[str, Any]] = []
            if self._pending:
                lines.append({"kind": "frames", "first": self._next_row, "rows": self._pending})
            lines.append({"kind": "segment", **asdict(segment)})
            self._append(lines)
            if self._next_row is not None:
                self._next_row += len(self._pending)
            self._pending = []
            self.finished[segment.number] = segment

    def joined(self, aside: Path, report: Report) -> None:
        """The output is complete and is about to be renamed."""
        status = aside.stat()
        line = {"kind": "joined", "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        self._append([{**line, "report": report.as_dict()}])

    def remove(self) -> None:
        """Removes everything: the output is in its place. The journal goes last, since it tells so."""
        forget(self.folder)

    def verify(self) -> list[int]:
        """Forgets finished segments whose files are not what they were; gives their numbers."""
        bad = []
        for number, segment in sorted(self.finished.items()):
            path = self.file_of(number)
            same_size = path.is_file() and path.stat().st_size == segment.bytes
            if not same_size or sha256_of(path) != segment.sha256:
                bad.append(number)
        for number in bad:
            del self.finished[number]
        return bad

    def first_unfinished(self, start: int) -> int:
        """The first frame of which no finished segment is known; start: the first of all."""
        frame = start
        for number in range(len(self.finished)):
            if number not in self.finished:
                break
            frame = self.finished[number].first + self.finished[number].frames
        return frame

    def _take(self, lines: Sequence[Mapping[str, Any]]) -> None:
        try:
            for line in lines:
                kinds = KINDS.get(line["kind"])
                if kinds is None:
                    raise ValueError("a line of another kind")
                table(line, {"kind": str, **kinds}, kinds)
                if any(fits(value, int) and value < 0 for value in line.values()):
                    raise ValueError("a number is negative")
                if line["kind"] == "frames":
                    first = self.remembered[-1].frame.index + 1 if self.remembered else line["first"]
                    if first != line["first"]:
                        raise ValueError("frames are missing")
                    self.remembered += [summary_of(first + n, row) for n, row in enumerate(line["rows"])]
                elif line["kind"] == "segment":
                    entry = {key: value for key, value in line.items() if key != "kind"}
                    entry["warnings"] = tuple(entry["warnings"])
                    self.finished[line["number"]] = Finished(**entry)
        except ValueError as error:
            raise damaged(self.folder) from error
        if self.remembered:
            self._next_row = self.remembered[-1].frame.index + 1

    def _drop_torn_end(self) -> None:
        """Removes half a line that a crash left behind, so that the next one stands by itself."""
        with open(self._path, "r+b", opener=no_link) as file:
            whole = b"".join(line for line in file if line.endswith(b"\n"))
            file.seek(len(whole))
            file.truncate()

    def _append(self, lines: Sequence[Mapping[str, Any]], begin: bool = False) -> None:
        text = "".join(json_text(line) + "\n" for line in lines)
        with open(self._path, "wb" if begin else "ab", opener=no_link) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; none where there is no journal or only half a line.

    Raises VqeError for a journal that is damaged anywhere but at its end.
    """
    try:
        with open(path, "rb", opener=no_link) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}.", "Check the permissions.") from error
    try:
        if len(content) > MOST_BYTES:
            raise DocumentError("larger than any journal")
        lines = [parse_json(line, LINE) for line in content.split(b"\n")[:-1]]
        for line in lines:
            expect(line, dict, "a line")
            expect(line.get("kind"), str, "kind")
    except DocumentError as error:
        raise damaged(path.parent) from error
    return lines


def is_begun(folder: Path) -> bool:
    """Whether an unfinished run has left something in its work folder."""
    return (folder / JOURNAL).exists()


def forget(folder: Path) -> None:
    """Removes what an unfinished run has left in a work folder that is claimed; the journal goes last."""
    with os.scandir(folder) as entries:
        ours = [each.name for each in entries if _is_ours(each)]
    for name in ours:
        if name not in (JOURNAL, LOCK):
            (folder / name).unlink(missing_ok=True)
    (folder / JOURNAL).unlink(missing_ok=True)


def left_over(folder: Path, output: Path) -> Report | None:
    """The report of a run that ended after its output was complete and before its work folder was removed.

    The folder is removed. None where there is no such run.
    """
    if not folder.is_dir() or not output.is_file():
        return None
    with claimed(folder, output):
        if not is_begun(folder):
            return None
        try:
            lines = read_lines(folder / JOURNAL)
            made = output.stat().st_mtime_ns
            for line in lines:
                if line["kind"] == "joined" and line.get("mtime_ns") == made:
                    report = Report.from_dict(line.get("report", {}))
                    forget(folder)
                    return report
        except (VqeError, ValueError):
            return None  # damaged, which is said when the run is resumed
    return None


def damaged(folder: Path) -> VqeError:
    """The work folder is not as it was left."""
    return OutputError(f"the work folder {folder} is damaged.", "Begin anew with --restart, or remove it.")


def _check_run(line: Mapping[str, Any], identity: Mapping[str, Any], folder: Path) -> None:
    """Raises VqeError unless the journal was begun by this version and with the same identity."""
    if line.get("format") != FORMAT or line.get("vqe") != __version__:
        raise OutputError(
            f"the work folder {folder} was begun by another version of vqe ({_shown(line.get('vqe'))}).",
            f"Finish it with that version, or begin anew with --restart (this is {__version__}).",
        )
    before = line.get("identity")
    if line["kind"] != "run" or not isinstance(before, dict):
        raise damaged(folder)
    now = plain(dict(identity))
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        differences = "; ".join(
            _difference(name, before.get(name), now.get(name)) for name in changed[:MOST_CHANGES]
        )
        raise OutputError(
            f"{folder} holds an unfinished run that cannot be resumed: {differences}.",
            "Give the old settings and files again, or begin anew with --restart.",
        )


def _difference(name: str, before: Any, now: Any) -> str:
    if name.startswith("the ") and len(name) <= LONGEST_NAME and name.isprintable():  # a file
        return f"{name} {'have' if name.endswith('s') else 'has'} changed"
    return f"{_shown(name)} was {_shown(before)} and is {_shown(now)}"


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "not given"
    text = shortened(value)
    if isinstance(value, dict):
        text = " ".join(f"{key}={item}" for key, item in value.items())
    elif isinstance(value, str):
        text = value
    return text if len(text) <= LONGEST_VALUE and text.isprintable() else shortened(value)
