"""`--progress json`: what a run says as JSON lines on stderr, for programs that watch it."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from vqe_cli.cli.console import say
from vqe_cli.documents import json_text
from vqe_cli.runs import report as events
from vqe_cli.runs.folder import Started
from vqe_cli.runs.manifest import Outcome

EVERY_S = 1.0


class JsonDisplay:
    """Writes a line at most once a second, at the first frame and at the last one; as `Display` it is a
    context manager whose `listen` and `watch` take events.

    file: input that lines name until `watch` hears of another. at_once: files that are enhanced at the same
    time, whose frames are counted together. clock: gives seconds.

    Lines of progress have `file`, `frames`, `total` (None when unknown), `fps`, `seconds_left` and `segment`
    (from 0; None in one piece); others have `file` and `warning`, or `file`, `status` and what came of it.
    """

    def __init__(self, file: str, at_once: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.outcomes: list[Outcome] = []
        self._file, self._at_once, self._clock = file, at_once, clock
        self._began = self._shown = clock()
        self._before: int | None = None  # frames that were there when this run began
        self._last: events.Progress | None = None  # what is not shown yet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()

    def listen(self, event: events.Event) -> None:
        """Shows one event of a run."""
        if isinstance(event, events.Notice):
            self._line(warning=event.text)
        elif isinstance(event, events.Summary):
            self._began, self._before = self._clock(), None
        elif isinstance(event, events.Progress):
            is_first = self._before is None
            if self._before is None:
                self._before = max(0, event.frames - 1)
            self._last = event
            if is_first or self._clock() - self._shown >= EVERY_S:
                self._flush()

    def watch(self, event: Started | Outcome) -> None:
        """Shows which file of a folder begins, or what came of it."""
        if isinstance(event, Started):
            if self._at_once == 1:
                self._file = str(event.job.settings.input)
            return
        self.outcomes.append(event)
        self._flush()
        self._line(**{**event.as_dict(), "file": event.input})

    def done(self, report: events.Report) -> None:
        """Shows the end of a run of one file."""
        self._flush()
        self._line(status="done", report=report.as_dict())

    def _flush(self) -> None:
        """The newest progress, unless it was shown."""
        event, self._last = self._last, None
        if event is None:
            return
        self._shown = self._clock()
        seconds = self._shown - self._began
        fps = (event.frames - (self._before or 0)) / seconds if seconds > 0 else None
        left = None
        if fps and event.total is not None:
            left = round(max(0, event.total - event.frames) / fps, 1)
        self._line(
            frames=event.frames,
            total=event.total,
            fps=None if fps is None else round(fps, 2),
            seconds_left=left,
            segment=event.segment,
        )

    def _line(self, **fields: Any) -> None:
        say(json_text({"file": self._file, **fields}))
