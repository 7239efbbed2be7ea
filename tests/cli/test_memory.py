"""A picture that is larger than the memory is refused before it is decoded, whoever would read it."""

import struct
import time
import zlib
from pathlib import Path

import pytest
from command import one_sentence, vqe
from small_clips import clip, write

from vqe_cli.measure.compare import frames_at_a_time
from vqe_cli.measure.result import Options
from vqe_cli.measure.sources import open_side
from vqe_cli.video import estimates

SIDE = 16_000


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A black PNG of 16000x16000 at one bit a sample: some 31 KB."""

    def part(kind: bytes, content: bytes) -> bytes:
        sum32 = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum32)

    path = tmp_path_factory.mktemp("bomb") / "bomb.png"
    rows = zlib.compress(bytes(SIDE * (1 + SIDE // 8)), 9)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b""))
    assert path.stat().st_size < 40_000
    return path


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path, free_mb: int) -> None:
    told = f"MemTotal: {10**8} kB\nMemAvailable: {1000 * free_mb} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
    (folder / "meminfo").write_text(told)
    monkeypatch.setattr(estimates, "MEMINFO", folder / "meminfo")
    monkeypatch.setattr(estimates, "CGROUP_LIMIT", folder / "none")


@pytest.mark.parametrize("verb", ["inspect", "eval", "enhance", "compress"])
def test_every_verb_asks_for_memory_before_it_decodes(
    verb: str, bomb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, tmp_path, 600)
    arguments: dict[str, tuple[str | Path, ...]] = {
        "inspect": ("inspect", bomb),
        "eval": ("eval", "--gt", bomb, "--pred", bomb),
        "enhance": ("enhance", bomb, tmp_path / "out.png"),
        "compress": ("compress", "--recipe", "qp37", "--out", tmp_path / "out", bomb),
    }
    start = time.monotonic()
    said = one_sentence(vqe(*arguments[verb]))
    assert time.monotonic() - start < 20
    assert "bomb.png" in said and f"{SIDE}x{SIDE}" in said and "memory" in said
    assert not list(tmp_path.glob("out*/*")) and not (tmp_path / "out.png").exists()


def test_eval_needs_more_than_the_decoded_pictures(
    bomb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, tmp_path, 8000)
    said = one_sentence(vqe("eval", "--gt", bomb, "--pred", bomb))
    assert "memory" in said and "8.2 GB are free" in said


def test_fewer_frames_are_measured_side_by_side_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write(tmp_path / "a.mkv", clip(12, width=1280, height=720))
    sides = [open_side(label, video, None) for label in ("truth", "output")]
    machine(monkeypatch, tmp_path, 10_000)
    assert frames_at_a_time(sides, Options(threads=8)) == 8
    machine(monkeypatch, tmp_path, 200)
    assert 1 <= frames_at_a_time(sides, Options(threads=8)) < 4
