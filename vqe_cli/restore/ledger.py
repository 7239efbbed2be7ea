"""What was made of the files of a folder, a JSON line each, beside the results: so a later run knows what is
done.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqe_cli.documents import json_text
from vqe_cli.errors import VqeError
from vqe_cli.restore.report import Report

NAME = "vqe-report.jsonl"


@dataclass(frozen=True)
class Outcome:
    """One file of a folder run.

    input, output: relative to the folders of the run. status: "done", "skipped" (was done before) or
    "failed". error, remedy: sentences of a failure. report: of a finished run.
    """

    input: str
    output: str
    status: str
    error: str = ""
    remedy: str = ""
    report: Report | None = None

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        tree: dict[str, Any] = {"input": self.input, "output": self.output, "status": self.status}
        if self.error:
            tree |= {"error": self.error, "remedy": self.remedy}
        if self.report is not None:
            tree["report"] = self.report.as_dict()
        return tree


class Ledger:
    """The lines of `vqe-report.jsonl` in a folder of results; of each file the last one counts.

    A last line that was cut off, by a crash, is passed over.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / NAME
        self._done: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    self._done[entry["input"]] = entry

    def state(self, input: str, output: str, identity: Mapping[str, Any]) -> str:
        """ "done": the output is what a run with this identity made. "changed": what another run made, or
        somebody changed it since. "unknown": the output is not from here. "missing": there is none.
        """
        if not (self._folder / output).exists():
            return "missing"
        entry = self._done.get(input, {})
        if entry.get("status") != "done" or entry.get("output") != output:
            return "unknown"
        same = entry.get("identity") == _plain(identity)
        return "done" if same and entry.get("written") == _stamp(self._folder / output) else "changed"

    def add(self, outcome: Outcome, identity: Mapping[str, Any] | None) -> None:
        """Appends the line of a file; raises VqeError where it cannot be written."""
        entry = outcome.as_dict()
        if outcome.status == "done":
            entry |= {"identity": _plain(identity or {}), "written": _stamp(self._folder / outcome.output)}
        try:
            with self._path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    torn = file.read(1) != b"\n"
                    file.write(b"\n" * torn)
                file.write(json_text(entry).encode("ascii") + b"\n")
        except OSError as error:
            raise VqeError(
                f"cannot write {self._path} ({error.strerror}).", "Check the disk and the permissions."
            ) from error


def _plain(identity: Mapping[str, Any]) -> Any:
    """As it comes back from JSON."""
    return json.loads(json_text(identity))


def _stamp(path: Path) -> list[int]:
    told = path.stat()
    return [told.st_size, told.st_mtime_ns]
