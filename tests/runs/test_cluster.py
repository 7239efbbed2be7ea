"""Segments on a real Ray cluster on this machine, one of whose processes is killed on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from work_folders import settings_for, write_all

from vqe_cli.errors import VqeError
from vqe_cli.runs.run import Restorer

TASK = "ray::make_remotely"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Input, weights, and the file of a run without a cluster."""
    return write_all(tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a cluster with two processors, in processes of its own."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    tests = Path(__file__).resolve().parent.parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tests.parent), *sys.path])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    if ray.is_initialized():
        ray.shutdown()
    cluster.shutdown()


def tasks() -> list[int]:
    """Processes that make a segment at this moment."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if TASK in line]


@pytest.mark.parametrize("sends_packets", [False, True], ids=["shared", "sent"])
@pytest.mark.slow
def test_a_cluster_writes_the_same_bytes_though_a_process_is_killed(
    sends_packets, folder, address, tmp_path
) -> None:
    killed: list[int] = []
    over = threading.Event()

    def kill_one() -> None:
        while not over.is_set() and not killed:
            for number in tasks()[:1]:
                os.kill(number, signal.SIGKILL)
                killed.append(number)
            time.sleep(0.005)

    killer = threading.Thread(target=kill_one, daemon=True)
    chosen = {"cluster": address, "cluster_ship": sends_packets, "tta": 1}
    settings = settings_for(folder / "in.mkv", tmp_path / "out.mkv", folder / "tiny.safetensors", **chosen)
    killer.start()
    try:
        with Restorer() as restorer:
            report = restorer.enhance(settings)
    finally:
        over.set()
        killer.join()
    assert killed, "no process was caught at work"
    assert report.frames == 36
    assert (tmp_path / "out.mkv").read_bytes() == (folder / "alone.mkv").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


def test_no_ray_and_no_cluster_are_said(folder, tmp_path, monkeypatch) -> None:
    chosen = {"cluster": "127.0.0.1:1"}
    settings = settings_for(folder / "in.mkv", tmp_path / "out.mkv", folder / "tiny.safetensors", **chosen)
    monkeypatch.setitem(sys.modules, "ray", None)
    with Restorer() as restorer, pytest.raises(VqeError, match=r"pip install '\.\[cluster\]'"):
        restorer.enhance(settings)
    monkeypatch.undo()
    pytest.importorskip("ray")
    with Restorer() as restorer, pytest.raises(VqeError, match="cannot be reached"):
        restorer.enhance(settings)
    assert not list(tmp_path.iterdir())
