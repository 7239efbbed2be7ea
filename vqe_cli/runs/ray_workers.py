"""Segments made by the machines of a Ray cluster (https://docs.ray.io, the extra `cluster`).

Networks go into the cluster's object store once, and each process takes them from there once. A segment is
one task: Ray places it where a processor or a GPU is free, and gives it to another process when its own is
lost. Files lie on a file system that all machines share, or packets are sent: those that a segment is
decoded from, and those that it became.
"""

import logging
import socket
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqe_cli.errors import VqeError
from vqe_cli.files import Aside
from vqe_cli.restore.choices import NetworkChoice
from vqe_cli.restore.device import choose
from vqe_cli.restore.ensemble import load_model
from vqe_cli.runs.journal import Finished
from vqe_cli.runs.segments import SegmentJob, Worker
from vqe_cli.runs.workers import POLL_S, TRIES, Messages, WorkerMessage, WorkerPool
from vqe_cli.video.reader import WrongEntry
from vqe_cli.video.sent_packets import SentPackets, packets_between

KNOCK_S = 5.0


@dataclass(frozen=True)
class Parcel:
    """A job and, for machines that do not see our files, the packets that it needs."""

    job: SegmentJob
    packets: SentPackets | None


class RayWorkers(WorkerPool):
    """The machines of a Ray cluster: `with RayWorkers("auto", networks) as workers`.

    address: of the cluster, "auto" for one that runs here. networks: of all files. sends_packets: whether its
    machines do not see our files. Raises VqeError without Ray and where the cluster cannot be reached.
    """

    def __init__(self, address: str, networks: NetworkChoice, sends_packets: bool = False) -> None:
        self._ray = connected(address)
        resources = self._ray.cluster_resources()
        on_gpu = networks.device.startswith("cuda") or (networks.device == "auto" and "GPU" in resources)
        super().__init__(max(1, int(resources.get("GPU" if on_gpu else "CPU", 1))))
        neutral = load_model(networks.on("cpu", "fp32", "torch"))
        self._model = self._ray.put(neutral)
        self._sends_packets = sends_packets
        self._device = "cuda" if on_gpu else "cpu"
        self._task = self._ray.remote(
            num_cpus=0 if on_gpu else 1, num_gpus=1 if on_gpu else 0, max_retries=TRIES - 1
        )(make_remotely)
        self._running: dict[Any, tuple[SegmentJob, Messages]] = {}
        self._lock = threading.Lock()

    def _stop(self) -> None:
        for running in self._running:
            self._ray.cancel(running, force=True)
        self._ray.shutdown()

    def submit(self, job: SegmentJob, messages: Messages) -> None:
        """As `WorkerPool.submit`."""
        packets = packets_for(job) if self._sends_packets else None
        running = self._task.remote(self._model, self._device, Parcel(_absolute(job), packets))
        with self._lock:
            self._running[running] = (job, messages)

    def _direct(self) -> None:
        """Passes on what has ended."""
        while not self._closing.is_set():
            with self._lock:
                running = list(self._running)
            if not running:
                self._closing.wait(POLL_S)
                continue
            ended, _ = self._ray.wait(running, timeout=POLL_S)
            for each in ended:
                with self._lock:
                    job, messages = self._running.pop(each)
                messages.put(self._message(each, job))

    def _message(self, ended: Any, job: SegmentJob) -> WorkerMessage:
        try:
            finished, data = self._ray.get(ended)
            if data is not None:
                with Aside(job.file) as place:
                    place.write_bytes(data)
            return WorkerMessage(job.number, finished=finished)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, VqeError):
                return WorkerMessage(job.number, error=cause)
            return WorkerMessage(job.number, error=RuntimeError(str(error)))
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            return WorkerMessage(
                job.number,
                error=VqeError(
                    f"{job.name} has ended its worker process {TRIES} times ({reason}).",
                    "Memory may be short: use a smaller --tile. What is finished is kept.",
                ),
            )
        except OSError as error:
            return WorkerMessage(job.number, error=error)


def connected(address: str) -> Any:
    """The module `ray`, connected to the cluster at `address`; raises VqeError where that fails."""
    try:
        import ray
    except ImportError as error:
        raise VqeError(
            "--cluster needs Ray, which is not installed.", "pip install '.[cluster]' in a clone of vqe"
        ) from error
    try:
        if ":" in address:
            knock(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise VqeError(
            f"the Ray cluster {address!r} cannot be reached ({reason}).",
            "Start it with `ray start --head` on one machine and `ray start --address=...` on the others.",
        ) from error
    return ray


def knock(address: str) -> None:
    """See that something listens at "host:port" or "ray://host:port"; Ray itself would try for minutes.

    Raises OSError or ValueError where nothing does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    socket.create_connection((host, int(port)), KNOCK_S).close()


# The worker of this process, once it has made one.
_WORKER: list[Worker] = []


def make_remotely(model: Any, device: str, parcel: Parcel) -> tuple[Finished, bytes | None]:
    """The task: makes a segment; gives its file's bytes, too, where packets are sent."""
    import tempfile

    import torch

    job = parcel.job
    if device == "cpu":
        torch.set_num_threads(1)
    if not _WORKER:
        worker = Worker(device)
        networks = job.plan.networks
        engine = job.plan.summary.engine if device == "cpu" else "torch"
        worker.take(model.on(choose(device, networks.precision, engine)), networks)
        _WORKER.append(worker)
    if parcel.packets is None:
        return _WORKER[0].make(job, lambda frames: None), None
    with tempfile.TemporaryDirectory() as folder:
        job = replace(job, file=Path(folder) / job.file.name)
        try:
            finished = _WORKER[0].make(job, lambda frames: None, parcel.packets)
        except WrongEntry as error:
            raise VqeError(
                f"{job.name} cannot be decoded from its packets alone.",
                "Use a file system that all machines share, without --cluster-ship.",
            ) from error
        return finished, job.file.read_bytes()


def _absolute(job: SegmentJob) -> SegmentJob:
    """The job with paths that mean the same on all machines."""
    plan = job.plan
    plan = replace(
        plan,
        source=replace(plan.source, path=plan.source.path.absolute()),
        output=replace(plan.output, path=plan.output.path.absolute()),
        info=replace(plan.info, path=plan.info.path.absolute()),
    )
    return replace(job, plan=plan)


def packets_for(job: SegmentJob) -> SentPackets:
    """The packets of a job; raises VqeError for an input that is not a video file."""
    info = job.plan.info
    if not info.path.is_file() or info.container == "images":
        raise VqeError(
            f"--cluster-ship is for video files, and {info.path} is not one.",
            "Leave it out, or make it a video.",
        )
    # Times of chunks are those to write; the last frame's own is not known, its place in the file is.
    return packets_between(info.path, info, job.entry, job.last_pts)
