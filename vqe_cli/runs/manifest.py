"""What was made of the files of a folder, a JSON line each, beside the results: so a later run knows what is
done.
"""

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from vqe_cli.documents import MIB, DocumentError, Limits, expect, json_text, parse_json, plain
from vqe_cli.errors import OutputError
from vqe_cli.files import append_line, no_link, write_error
from vqe_cli.runs.report import Report

NAME = "vqe-report.jsonl"
LINE = Limits(bytes=4 * MIB)  # a report with its warnings; an ensemble's identity
REMEDY = "Move it away; files that are there already are then made again only with --overwrite."


@dataclass(frozen=True)
class Outcome:
    """One file of a folder run."""

    input: str
    """Path relative to the input folder."""

    output: str
    """Path relative to the output folder."""

    status: str
    """"done", "skipped" (was done before) or "failed"."""

    error: str = ""
    """What went wrong, one sentence; "" otherwise."""

    remedy: str = ""
    """What to do about it."""

    report: Report | None = None
    """Of a finished run."""

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        tree: dict[str, Any] = {"input": self.input, "output": self.output, "status": self.status}
        if self.error:
            tree |= {"error": self.error, "remedy": self.remedy}
        if self.report is not None:
            tree["report"] = self.report.as_dict()
        return tree


class Manifest:
    """The lines of `vqe-report.jsonl` in a folder of results; of each file the last "done" counts.

    Several runs may add to it at the same time. A line that was cut off, by a crash, is passed over.
    Raises VqeError where the file cannot be read or is not such a report. May be used from several threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / NAME
        self._done: dict[str, dict[str, Any]] = {}
        self._read = 0  # bytes of whole lines
        self._reading = Lock()
        self.refresh()

    def refresh(self) -> None:
        """Reads what was added since, by this run or by others."""
        with self._reading:
            try:
                with open(self._path, "rb", opener=no_link) as file:
                    file.seek(self._read)
                    added = file.read()
            except FileNotFoundError:
                return
            except OSError as error:
                why = "it is a link" if error.errno == errno.ELOOP else error.strerror
                raise OutputError(f"{self._path} cannot be read: {why}.", REMEDY) from error
            whole = added[: added.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            entry = parse_json(line, LINE)
            expect(entry, dict, "a line")
            for name in ("input", "output", "status"):
                expect(entry.get(name), str, name)
        except DocumentError as error:
            if isinstance(error.__cause__, json.JSONDecodeError):
                return  # cut off
            raise OutputError(f"{self._path} is not a report of vqe ({error}).", REMEDY) from error
        if entry["status"] == "done":
            self._done[entry["input"]] = entry

    def state(self, input: str, output: str, identity: Mapping[str, Any]) -> str:
        """ "done": the output is what a run with this identity made. "changed": what another run made, or
        somebody changed it since. "unknown": the output is not from here. "missing": there is none.
        """
        if not (self._folder / output).exists():
            return "missing"
        entry = self._done.get(input, {})
        if entry.get("output") != output:
            return "unknown"
        same = entry.get("identity") == plain(identity)
        return "done" if same and entry.get("written") == _stamp(self._folder / output) else "changed"

    def add(self, outcome: Outcome, identity: Mapping[str, Any] | None) -> None:
        """Appends the line of a file; raises VqeError where it cannot be written."""
        entry = outcome.as_dict()
        try:
            if outcome.status == "done":
                written = _stamp(self._folder / outcome.output)
                entry |= {"identity": plain(identity or {}), "written": written}
            append_line(self._path, json_text(entry).encode("ascii"))
        except OSError as error:
            raise write_error(error, self._path) from error


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
