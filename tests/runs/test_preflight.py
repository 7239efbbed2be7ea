"""What is refused before weights are loaded, and what is told of a run that would start."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_clips import clip, write
from tiny_weights import write_zero

from vqe_cli.errors import VqeError
from vqe_cli.restore.sizes import Need
from vqe_cli.runs import run as runs
from vqe_cli.runs.plan import colours_unshown, memory_warnings, plan
from vqe_cli.runs.run import enhance
from vqe_cli.runs.settings import Settings
from vqe_cli.video import estimates
from vqe_cli.video.estimates import amount, machine_memory


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 64x48 and a network that changes nothing."""
    folder = tmp_path_factory.mktemp("preflight")
    write(folder / "in.mkv", clip(4))
    write(folder / "odd.mkv", clip(2, width=45, height=33))
    write_zero(folder / "zero.safetensors")
    return folder


def settings(folder: Path, output: str, source: str = "in.mkv", **chosen) -> Settings:
    weights = folder / "zero.safetensors"
    return Settings(folder / source, folder / output, weights=(weights,), device="cpu", **chosen)


@pytest.mark.parametrize(
    ("output", "chosen", "words"),
    [
        ("out.mkv", {"codec": "libx265", "source": "odd.mkv"}, "libx265 cannot write 45x33"),
        ("out.mkv", {"codec": "libx265", "pix_fmt": "rgb565le"}, "cannot write"),
        ("out.webm", {"codec": "libx265"}, "out.webm"),
        ("out.mkv", {"encoder_options": {"nosuch": "1"}}, "nosuch"),
        ("no/such/out.mkv", {}, "no/such"),
        ("out.xyz", {}, "xyz"),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_refused_before_weights_are_loaded(
    output: str, chosen: dict, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(folder.iterdir())
    monkeypatch.setattr(runs, "load_model", lambda networks: pytest.fail("weights were loaded"))
    with pytest.raises(VqeError, match=words):
        enhance(settings(folder, output, **chosen))
    with pytest.raises(VqeError, match=words):
        plan(settings(folder, output, **chosen))
    assert sorted(folder.iterdir()) == before


def test_a_disk_without_room_is_refused_and_one_with_little_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(folder, "out.y4m")
    least = 4 * 64 * 48 * 3 // 2  # .y4m holds the planes as they are
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=least - 1))
    with pytest.raises(VqeError, match=r"will take at least 18\.4 kB, and 18\.4 kB are free") as caught:
        plan(chosen)
    assert "another disk" in caught.value.remedy
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=least))
    assert not [text for text in plan(chosen).warnings if "free" in text]
    lossless = settings(folder, "out.mkv", codec="ffv1")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=least // 2))
    assert [text for text in plan(lossless).warnings if "may take up to" in text]


def test_a_forecast_writes_nothing_and_knows_what_the_run_does(folder: Path) -> None:
    before = sorted(folder.iterdir())
    found = plan(settings(folder, "out.mkv", crf=12.0, scale=1))
    assert sorted(folder.iterdir()) == before
    report = enhance(settings(folder, "out.mkv", crf=12.0))
    written = (folder / "out.mkv").stat().st_size
    (folder / "out.mkv").unlink()
    assert found.summary == report.plan
    assert (found.written.codec, found.written.pix_fmt, found.written.crf) == (
        "libx265",
        "yuv420p",
        12.0,
    )
    room = found.estimates.room
    assert room is not None and room.low < written < room.high + 4000  # headers


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(VqeError, match="cannot be written to"):
        plan(settings(folder, str(tmp_path / "out.mkv")))


def test_memory_that_cannot_suffice_is_refused_and_little_is_told() -> None:
    gib = 2**30
    assert memory_warnings(Need("memory", 2 * gib, 3 * gib, 4 * gib)) == []
    assert memory_warnings(Need("memory", 2 * gib, None, None)) == []
    (told,) = memory_warnings(Need("memory", 2 * gib, gib, 4 * gib))
    assert "may take 2.1 GB" in told and "--tile" in told
    assert memory_warnings(Need("memory", 5 * gib, gib, 4 * gib))  # a margin is no reason to refuse
    with pytest.raises(VqeError, match=r"there are 4\.3 GB"):
        memory_warnings(Need("memory", 7 * gib, gib, 4 * gib))


def test_a_container_with_less_memory_than_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 4000 kB\nSwapTotal: 100 kB\nSwapFree: 50 kB\n"
    (tmp_path / "meminfo").write_text(told)
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(estimates, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(estimates, "CGROUP_LIMIT", tmp_path / "max")
    assert machine_memory() == (4050 * 1024, 8100 * 1024)
    (tmp_path / "max").write_text("2048000\n")
    assert machine_memory() == (2048000, 2048000)
    (tmp_path / "memory.current").write_text("1048000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 48000\n")
    assert machine_memory() == (1048000, 2048000)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (123456, "123 kB"), (2**30, "1.1 GB")],
)
def test_amounts_for_people(count: int, text: str) -> None:
    assert amount(count) == text


def test_colours_that_cannot_come_out_right_are_refused_unless_forced(folder: Path) -> None:
    info = plan(settings(folder, "out.mkv")).info
    assert colours_unshown(info, force=False) == []
    with pytest.raises(VqeError, match=r"in\.mkv is Dolby Vision") as caught:
        colours_unshown(replace(info, dolby_vision=5), force=False)
    assert "--force" in caught.value.remedy
    [warning] = colours_unshown(replace(info, dolby_vision=5), force=True)
    assert "Dolby Vision" in warning
