"""Processes that make segments at the same time, one for each device, for any number of files.

Workers die with their master, however that ends: each notices at its next frame. A worker that dies is
replaced, and its segment given to another; a segment that costs three of them is named.
"""

import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Protocol, Self

import torch

from vqe_cli.errors import VqeError, explained
from vqe_cli.machine import usable_cores
from vqe_cli.runs.journal import Finished
from vqe_cli.runs.segments import Job
from vqe_cli.runs.worker import Worker

TRIES = 3
POLL_S = 0.2


@dataclass(frozen=True)
class Told:
    """What is told of a job: `frames` done so far, or that it is finished, or why it failed."""

    number: int
    frames: int = 0
    finished: Finished | None = None
    error: Exception | None = None


Inbox = queue.SimpleQueue[Told]


class Crew(Protocol):
    """Whoever makes segments. size: how many at the same time."""

    size: int

    def submit(self, job: Job, inbox: Inbox) -> None:
        """Takes a job; what is told of it comes into the inbox, at the end `finished` or `error`."""


@dataclass
class _Task:
    job: Job
    inbox: Inbox
    tries: int = 0


@dataclass
class _Hand:
    """A worker process, where it has been started, and what it is doing."""

    device: str
    core: int | None
    process: BaseProcess | None = None
    connection: Connection | None = None
    task: _Task | None = None


class LocalCrew:
    """Worker processes on this machine: `with LocalCrew(["cpu", "cpu"]) as crew`.

    devices: of the workers. one_core: each stays on one core, its codecs, too, where the system can do that;
    otherwise they compute on an equal share of the processor's. May be used from several threads.
    """

    def __init__(self, devices: Sequence[str], one_core: bool = False) -> None:
        self.size = len(devices)
        cores = _cores() if one_core else [None] * self.size
        self._hands = [_Hand(device, cores[number % len(cores)]) for number, device in enumerate(devices)]
        self._tasks: deque[_Task] = deque()
        self._context = multiprocessing.get_context("spawn")
        self._threads = 1 if one_core else max(1, usable_cores() // self.size)
        self._wake_up, self._woken = os.pipe()
        self._closing = False
        self._thread = threading.Thread(target=self._direct, name="vqe-crew", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._nudge()
        self._thread.join()
        for hand in self._hands:
            self._dismiss(hand)

    def submit(self, job: Job, inbox: Inbox) -> None:
        """As `Crew.submit`."""
        self._tasks.append(_Task(job, inbox))
        self._nudge()

    def _nudge(self) -> None:
        os.write(self._woken, b"!")

    def _direct(self) -> None:
        """Gives out tasks and passes on what workers tell."""
        while not self._closing:
            for hand in self._hands:
                if hand.task is None and self._tasks:
                    self._give(hand, self._tasks.popleft())
            busy = {hand.connection: hand for hand in self._hands if hand.connection is not None}
            for ready in wait([*busy, self._wake_up], POLL_S):
                if ready == self._wake_up:
                    os.read(self._wake_up, 4096)
                else:
                    self._hear(busy[ready])  # type: ignore[index]

    def _give(self, hand: _Hand, task: _Task) -> None:
        if hand.process is None or not hand.process.is_alive():
            self._start(hand)
        hand.task = task
        task.tries += 1
        assert hand.connection is not None
        try:
            hand.connection.send(task.job)
        except OSError:
            self._lost(hand)

    def _start(self, hand: _Hand) -> None:
        self._dismiss(hand)
        hand.connection, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(hand.device, self._threads, hand.core, theirs), name="vqe-worker", daemon=True
        )
        process.start()
        theirs.close()
        hand.process = process

    def _hear(self, hand: _Hand) -> None:
        assert hand.connection is not None
        try:
            told: Told = hand.connection.recv()
        except (EOFError, OSError):
            self._lost(hand)
            return
        if hand.task is not None:
            hand.task.inbox.put(told)
        if told.finished is not None or told.error is not None:
            hand.task = None

    def _lost(self, hand: _Hand) -> None:
        """A worker has died; its task goes to the next free one, unless it has cost too many."""
        task, hand.task = hand.task, None
        code = self._dismiss(hand)
        if task is None:
            return
        if task.tries < TRIES:
            task.inbox.put(Told(task.job.number))
            self._tasks.appendleft(task)
            return
        error = VqeError(
            f"{task.job.name} has ended its worker process {TRIES} times ({_ending(code)}).",
            "Memory may be short: use fewer --workers, or a smaller --tile. What is finished is kept.",
        )
        task.inbox.put(Told(task.job.number, error=error))

    def _dismiss(self, hand: _Hand) -> int | None:
        """Ends a worker; its exit code."""
        if hand.connection is not None:
            hand.connection.close()
        code = None
        if hand.process is not None:
            hand.process.join(POLL_S)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
            code = hand.process.exitcode
        hand.connection = hand.process = None
        return code


def _cores() -> list[int | None]:
    """The cores that this process may use; [None] where the system does not say."""
    return [*sorted(os.sched_getaffinity(0))] if hasattr(os, "sched_getaffinity") else [None]


def serve(device: str, threads: int, core: int | None, master: Connection) -> None:
    """The life of a worker process: jobs come in, what is told of them goes out, until the master is gone.

    core: the only one that it may use; None: all.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the master decides
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    torch.set_num_threads(threads)
    worker = Worker(device)
    try:
        while True:
            job: Job = master.recv()
            master.send(_made(worker, job, master))
    except (EOFError, OSError):
        os._exit(0)  # the master is gone


def _made(worker: Worker, job: Job, master: Connection) -> Told:
    try:
        finished = worker.make(job, lambda frames: master.send(Told(job.number, frames)))
        return Told(job.number, finished=finished)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as foreign:
        error = explained(foreign)
        if isinstance(error, VqeError):
            return Told(job.number, error=error)
        return Told(job.number, error=RuntimeError(f"{type(error).__name__}: {error}"))


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
