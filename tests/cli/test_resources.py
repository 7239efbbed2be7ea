"""Memory that runs out, disks that are full, terminals that close: a sentence, and nothing is left."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import START, Done, one_sentence, process_env, vqe
from full_disk import fill_disk
from made_clips import write_clip
from tiny_weights import write_registry

from vqe_cli.errors import VqeError

FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", frames=12)


def caused(by: Exception) -> VqeError:
    error = VqeError("clip.mkv is not a video that FFmpeg can read.")
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 128. KiB for an array with shape (272, 480)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: ..."),
        RuntimeError("std::bad_alloc"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        caused(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))),
    ],
    ids=str,
)
def test_out_of_memory_is_called_that(clip: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("vqe_cli.video.inspect.inspect", fail)
    told = one_sentence(vqe("inspect", clip))
    assert "not enough memory" in told and "--tile" in told


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
@pytest.mark.parametrize("mib", [100, 256])
def test_a_limit_of_memory(clip: Path, mib: int) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (mib * 2**20, mib * 2**20))

    done = subprocess.run(
        [sys.executable, "-c", START, "inspect", str(clip)],
        env=process_env(),
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=120,
    )
    if mib == 256 and done.returncode == 0:
        pytest.skip("it is enough here")
    assert "not enough memory" in one_sentence(Done(done.returncode, done.stdout, done.stderr))


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["inspect", "CLIP"], ["inspect", "CLIP", "--json", "-"]]
)
def test_stdout_on_a_full_disk(clip: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-c", START, *(str(clip) if each == "CLIP" else each for each in arguments)]
    with FULL.open("w") as full:
        done = subprocess.run(command, env=process_env(), stdout=full, stderr=subprocess.PIPE, text=True)
    assert "standard output" in one_sentence(Done(done.returncode, "", done.stderr))


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_no_report(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch)
    assert "full" in one_sentence(vqe("inspect", clip, "--json", tmp_path / "report.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("report", ["report.json", "folder", "none/report.json"])
def test_a_report_is_written_whole(clip: Path, tmp_path: Path, report: str) -> None:
    victim, place = tmp_path / "victim", tmp_path / report
    (tmp_path / "folder").mkdir()
    victim.write_bytes(b"theirs")
    if report == "report.json":
        place.symlink_to(victim)
        done = vqe("inspect", clip, "--json", place)
        assert done.code == 0, done.stderr
        assert not place.is_symlink() and place.read_text().startswith("{")
    else:
        assert report in one_sentence(vqe("inspect", clip, "--json", place))
    assert victim.read_bytes() == b"theirs"


def test_a_report_where_nothing_can_be_written(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, *mode: Path(place) != tmp_path and access(place, *mode))
    assert "report.json" in one_sentence(vqe("inspect", clip, "--json", tmp_path / "report.json"))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal of Unix")
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.slow
def test_a_terminal_that_closes(tmp_path: Path, ignored: bool) -> None:
    source = write_clip(tmp_path / "clip.mkv", frames=160)
    (tmp_path / "out").mkdir()
    registry = write_registry(tmp_path)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            START,
            "enhance",
            str(source),
            str(tmp_path / "out" / "out.mkv"),
            "--tta",
            "8",
            "-q",
        ],
        env=process_env({"VQE_WEIGHTS_TOML": str(registry)}),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignored else None,
    )
    until = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".*.part")) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.03)  # the writer is open now: frames are on their way
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=120)
    left = [path.name for path in (tmp_path / "out").iterdir()]
    if ignored:
        assert process.returncode == 0 and left == ["out.mkv"], errors
    else:
        assert process.returncode == 128 + signal.SIGHUP and not left, errors


def test_modules_import_without_what_only_unix_has() -> None:
    code = """
import os, pkgutil, signal, sys
sys.modules.update(fcntl=None)
del os.O_NOFOLLOW, signal.SIGHUP
import importlib, vqe_cli
for found in pkgutil.walk_packages(vqe_cli.__path__, "vqe_cli."):
    importlib.import_module(found.name)
"""
    done = subprocess.run([sys.executable, "-c", code], env=process_env(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
