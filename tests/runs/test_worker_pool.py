"""Worker processes: the same bytes, whoever makes a segment, and whoever dies over it."""

import multiprocessing
import os
import signal
import time

import pytest
from work_folders import settings_for, write_all

from vqe_cli.errors import VqeError
from vqe_cli.runs.report import Progress
from vqe_cli.runs.run import Restorer, enhance, has_workers
from vqe_cli.runs.workers import LocalWorkers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Input, weights, and the file of a run without workers."""
    return write_all(tmp_path_factory.mktemp("pool"))


def settings_in(folder, output, **chosen):
    return settings_for(folder / "in.mkv", output, folder / "tiny.safetensors", workers=2, **chosen)


def workers() -> list[int]:
    return [
        child.pid for child in multiprocessing.active_children() if child.name == "vqe-worker" and child.pid
    ]


def test_two_workers_write_the_same_bytes_for_several_files(folder, tmp_path) -> None:
    """One of them is killed on the way; its segment is made by the next."""
    events: list[object] = []
    killed: list[int] = []

    def listen(event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.frames >= 10 and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    with Restorer() as restorer:
        report = restorer.enhance(settings_in(folder, tmp_path / "a.mkv"), listen)
        first = set(workers())
        restorer.enhance(settings_in(folder, tmp_path / "b.mkv"))
        assert set(workers()) == first, "workers serve all files"
    assert killed and not workers()
    alone = (folder / "alone.mkv").read_bytes()
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes() == alone
    assert (report.frames, report.scene_cuts) == (36, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "b.mkv"]


@pytest.mark.slow
def test_a_segment_that_kills_its_workers_is_named(folder, tmp_path) -> None:
    """What was finished before stays, and a run without workers goes on with it."""
    stop = time.monotonic() + 240

    def listen(event) -> None:
        if isinstance(event, Progress) and event.frames >= 16:
            assert time.monotonic() < stop
            for number in workers():
                os.kill(number, signal.SIGKILL)

    output = tmp_path / "out.mkv"
    with Restorer() as restorer, pytest.raises(VqeError, match=r"segment \d+ \(frames \d+ to \d+\).*SIGKILL"):
        restorer.enhance(settings_in(folder, output), listen)
    assert not output.exists() and (tmp_path / "out.mkv.vqe-work").exists()
    report = enhance(settings_for(folder / "in.mkv", output, folder / "tiny.safetensors"))
    assert report.kept_frames > 0
    assert output.read_bytes() == (folder / "alone.mkv").read_bytes()


def test_errors_of_a_worker_are_those_of_the_run(folder, tmp_path) -> None:
    output = tmp_path / "out.mkv"
    (folder / "copy.mkv").write_bytes((folder / "in.mkv").read_bytes())
    settings = settings_for(folder / "copy.mkv", output, folder / "tiny.safetensors", workers=2)

    def listen(event) -> None:
        (folder / "copy.mkv").unlink(missing_ok=True)

    with Restorer() as restorer, pytest.raises(VqeError, match=r"copy\.mkv (does not exist|has changed)"):
        restorer.enhance(settings, listen)


def test_one_process_for_each_device() -> None:
    from pathlib import Path

    from vqe_cli.runs.run import new_workers
    from vqe_cli.runs.settings import Settings

    settings = Settings(Path("in.mkv"), Path("out.mkv"), device="cpu,cpu,cpu")
    assert has_workers(settings) and new_workers(settings).size == 3
    with pytest.raises(VqeError, match="cuda:9"):
        new_workers(Settings(Path("in.mkv"), Path("out.mkv"), device="cpu,cuda:9"))
    assert LocalWorkers(["cpu", "cpu"]).size == 2
