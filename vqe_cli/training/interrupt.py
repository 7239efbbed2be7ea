"""Ctrl-C, SIGTERM, SIGHUP while training: the step is finished, a checkpoint written, then the run ends."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """The run was stopped from outside after `step` steps; `checkpoint` has all that it needs to go on."""

    def __init__(self, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step
        self.checkpoint = checkpoint


@contextmanager
def watched() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C, SIGTERM or SIGHUP sets; a second one interrupts at once.

    Under torchrun, which hands every signal on to processes that the terminal has signalled, there is no
    second one. Outside the main thread, where signals do not arrive, the event is never set.
    """
    asked = threading.Event()
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set() and alone:
            raise KeyboardInterrupt
        asked.set()

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    before = {
        number: signal.signal(number, ask)
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN  # nohup
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
