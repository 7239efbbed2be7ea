"""A segment made from a job alone, as another machine would: whatever it needs travels, and is enough."""

import pickle
from dataclasses import replace

import pytest
from tiny_weights import write_recurrent
from work_folders import settings_for, write_input

from vqe_cli.errors import VqeError
from vqe_cli.restore.device import choose
from vqe_cli.restore.engine import load
from vqe_cli.runs.ray_workers import packets_for
from vqe_cli.runs.run import enhance
from vqe_cli.runs.segments import Worker
from vqe_cli.runs.workers import WorkerMessage
from vqe_cli.video.reader import Entry, WrongEntry


class Elsewhere:
    """One worker, in this process, that is given jobs as bytes; keeps the jobs."""

    size = 1

    def __init__(self, worker: Worker, sends_packets: bool) -> None:
        self.worker, self.sends_packets, self.jobs = worker, sends_packets, []

    def submit(self, job, messages) -> None:
        self.jobs.append(job)
        packets = packets_for(job) if self.sends_packets else None
        job, packets = pickle.loads(pickle.dumps((job, packets)))
        messages.put(WorkerMessage(job.number, finished=self.worker.make(job, lambda frames: None, packets)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Input, recurrent weights, and the file of an ordinary run."""
    folder = tmp_path_factory.mktemp("worker")
    write_input(folder / "in.mkv")
    write_recurrent(folder / "recurrent.safetensors")
    enhance(settings_in(folder, folder / "alone.mkv"))
    return folder


def settings_in(folder, output):
    # FFV1, because x265 does not always write the same bytes of pictures as small as these.
    weights = folder / "recurrent.safetensors"
    return settings_for(folder / "in.mkv", output, weights, overlap=2, pqf_period=2, codec="ffv1")


@pytest.mark.parametrize("sends_packets", [False, True], ids=["shared", "sent"])
def test_a_job_holds_all_that_a_segment_needs(sends_packets, folder, tmp_path) -> None:
    settings = settings_in(folder, tmp_path / "out.mkv")
    worker = Worker("cpu")
    worker.take(load(settings.networks).on(choose("cpu", "fp32")), settings.networks)
    pool = Elsewhere(worker, sends_packets)
    enhance(settings, pool=pool)
    assert (tmp_path / "out.mkv").read_bytes() == (folder / "alone.mkv").read_bytes()
    assert len(pool.jobs) >= 4 and pool.jobs[-1].entry is not None
    whole = packets_for(replace(pool.jobs[-1], entry=None, last_pts=None))
    assert len(whole.packets) == 36
    assert len(packets_for(pool.jobs[2]).packets) < 30


def test_an_entry_that_is_none(folder, tmp_path) -> None:
    """Decoding begins at the beginning; from sent packets it cannot, and says so."""
    settings = settings_in(folder, tmp_path / "out.mkv")
    pool = Elsewhere(Worker("cpu"), False)
    enhance(settings, pool=pool)
    job = replace(pool.jobs[-1], file=tmp_path / "again.segment")
    wrong = replace(job, entry=Entry(job.entry.index - 4, job.entry.pts))
    right = pool.worker.make(job, lambda frames: None)
    assert pool.worker.make(wrong, lambda frames: None) == right
    with pytest.raises(WrongEntry):
        pool.worker.make(wrong, lambda frames: None, packets_for(wrong))
    other = {index: checksum ^ 1 for index, checksum in job.checksums.items()}
    with pytest.raises(VqeError, match="has changed"):
        pool.worker.make(replace(job, checksums=other), lambda frames: None)
