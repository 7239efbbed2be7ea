"""Processes that make segments at the same time, one for each device, for any number of files.

Workers die with their master, however that ends: each notices at its next frame. A worker that dies is
replaced, and its segment given to another; a segment that costs three of them is named.
"""

import multiprocessing
import os
import queue
import signal
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Self

import torch

from vqe_cli.errors import VqeError, explained
from vqe_cli.machine import usable_cores
from vqe_cli.runs.journal import Finished
from vqe_cli.runs.segments import SegmentJob, Worker

TRIES = 3
POLL_S = 0.2


@dataclass(frozen=True)
class WorkerMessage:
    """What a worker reports of a job: `frames` done so far, or that it is finished, or why it failed."""

    number: int
    frames: int = 0
    finished: Finished | None = None
    error: Exception | None = None


Messages = queue.SimpleQueue[WorkerMessage]


class WorkerPool(ABC):
    """Whoever makes segments while a block lasts: `with pool: pool.submit(job, messages)`.

    size: how many at the same time. A thread gives out jobs and passes messages on. May be used from several
    threads.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._direct, name="vqe-workers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        self._stop()

    @abstractmethod
    def submit(self, job: SegmentJob, messages: Messages) -> None:
        """Takes a job; reports come into the queue, at the end `finished` or `error`."""

    @abstractmethod
    def _direct(self) -> None:
        """The life of the thread: until `_closing` is set, which it looks at every POLL_S seconds."""

    @abstractmethod
    def _stop(self) -> None:
        """Ends what still works."""


@dataclass
class _Task:
    job: SegmentJob
    messages: Messages
    tries: int = 0


@dataclass
class _WorkerProcess:
    """A worker process."""

    device: str
    """"cpu", "cuda:N", ..."""

    core: int | None
    """The only one that it may use; None: all."""

    process: BaseProcess | None = None
    """None until it is needed."""

    connection: Connection | None = None
    """To the process, while there is one."""

    task: _Task | None = None
    """What it is doing."""


class LocalWorkers(WorkerPool):
    """Worker processes on this machine: `with LocalWorkers(["cpu", "cpu"]) as workers`.

    devices: of the workers. one_core: each stays on one core, its codecs, too, where the system can do that;
    otherwise they compute on an equal share of the processor's.
    """

    def __init__(self, devices: Sequence[str], one_core: bool = False) -> None:
        super().__init__(len(devices))
        cores = _cores() if one_core else [None] * self.size
        self._workers = [
            _WorkerProcess(device, cores[number % len(cores)]) for number, device in enumerate(devices)
        ]
        self._tasks: deque[_Task] = deque()
        self._context = multiprocessing.get_context("spawn")
        self._threads = 1 if one_core else max(1, usable_cores() // self.size)
        self._wake_up, self._woken = os.pipe()

    def _stop(self) -> None:
        for worker in self._workers:
            self._dismiss(worker)

    def submit(self, job: SegmentJob, messages: Messages) -> None:
        """As `WorkerPool.submit`."""
        self._tasks.append(_Task(job, messages))
        os.write(self._woken, b"!")

    def _direct(self) -> None:
        """Gives out tasks and passes on what workers tell."""
        while not self._closing.is_set():
            for worker in self._workers:
                if worker.task is None and self._tasks:
                    self._give(worker, self._tasks.popleft())
            busy = {worker.connection: worker for worker in self._workers if worker.connection is not None}
            for ready in wait([*busy, self._wake_up], POLL_S):
                if ready == self._wake_up:
                    os.read(self._wake_up, 4096)
                else:
                    self._hear(busy[ready])  # type: ignore[index]

    def _give(self, worker: _WorkerProcess, task: _Task) -> None:
        if worker.process is None or not worker.process.is_alive():
            self._start(worker)
        worker.task = task
        task.tries += 1
        assert worker.connection is not None
        try:
            worker.connection.send(task.job)
        except OSError:
            self._lost(worker)

    def _start(self, worker: _WorkerProcess) -> None:
        self._dismiss(worker)
        worker.connection, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve,
            args=(worker.device, self._threads, worker.core, theirs),
            name="vqe-worker",
            daemon=True,
        )
        process.start()
        theirs.close()
        worker.process = process

    def _hear(self, worker: _WorkerProcess) -> None:
        assert worker.connection is not None
        try:
            message: WorkerMessage = worker.connection.recv()
        except (EOFError, OSError):
            self._lost(worker)
            return
        if worker.task is not None:
            worker.task.messages.put(message)
        if message.finished is not None or message.error is not None:
            worker.task = None

    def _lost(self, worker: _WorkerProcess) -> None:
        """A worker has died; its task goes to the next free one, unless it has cost too many."""
        task, worker.task = worker.task, None
        code = self._dismiss(worker)
        if task is None:
            return
        if task.tries < TRIES:
            task.messages.put(WorkerMessage(task.job.number))
            self._tasks.appendleft(task)
            return
        error = VqeError(
            f"{task.job.name} has ended its worker process {TRIES} times ({_ending(code)}).",
            "Memory may be short: use fewer --workers, or a smaller --tile. What is finished is kept.",
        )
        task.messages.put(WorkerMessage(task.job.number, error=error))

    def _dismiss(self, worker: _WorkerProcess) -> int | None:
        """Ends a worker; its exit code."""
        if worker.connection is not None:
            worker.connection.close()
        code = None
        if worker.process is not None:
            worker.process.join(POLL_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            code = worker.process.exitcode
        worker.connection = worker.process = None
        return code


def _cores() -> list[int | None]:
    """The cores that this process may use; [None] where the system does not say."""
    return [*sorted(os.sched_getaffinity(0))] if hasattr(os, "sched_getaffinity") else [None]


def serve(device: str, threads: int, core: int | None, master: Connection) -> None:
    """The life of a worker process: jobs come in, reports go out, until the master is gone.

    core: the only one that it may use; None: all.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the master decides
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    torch.set_num_threads(threads)
    worker = Worker(device)
    try:
        while True:
            job: SegmentJob = master.recv()
            master.send(_made(worker, job, master))
    except (EOFError, OSError):
        os._exit(0)  # the master is gone


def _made(worker: Worker, job: SegmentJob, master: Connection) -> WorkerMessage:
    try:
        finished = worker.make(job, lambda frames: master.send(WorkerMessage(job.number, frames)))
        return WorkerMessage(job.number, finished=finished)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as foreign:
        error = explained(foreign)
        if isinstance(error, VqeError):
            return WorkerMessage(job.number, error=error)
        return WorkerMessage(job.number, error=RuntimeError(f"{type(error).__name__}: {error}"))


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
