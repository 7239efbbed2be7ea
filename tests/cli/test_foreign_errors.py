"""Whatever PyAV, numpy or the system raises for a bad file is a sentence that names it; the others go on."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from command import one_sentence, vqe
from made_clips import write_clip
from tiny_weights import write_registry

ERRORS: list[Exception] = [
    ValueError("29 is not a valid Type"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    IndexError("list index out of range"),
    KeyError("DISPLAYMATRIX"),
    OverflowError("int too large to convert to float"),
    ZeroDivisionError("Fraction(1, 0)"),
    RuntimeError("decoder is not open"),
    OSError(errno.EIO, os.strerror(errno.EIO)),
    av.error.InvalidDataError(1094995529, "Invalid data found"),
]
errors = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


class Broken:
    """A container that raises an error when it is read, or already when it is described."""

    def __init__(self, container: Any, error: Exception, wanted: str) -> None:
        self._container, self._error, self._wanted = container, error, wanted

    def __enter__(self) -> "Broken":
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def __getattr__(self, name: str) -> Any:
        if name == self._wanted == "demux":
            return self._demux
        if name == self._wanted:
            raise self._error
        return getattr(self._container, name)

    def _demux(self, *streams: Any) -> Iterator[Any]:
        for number, packet in enumerate(self._container.demux(*streams)):
            if number == 2:
                raise self._error
            yield packet


@pytest.fixture
def break_input(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception, str], None]:
    """Lets files named bad.mkv fail; where: "open", or an attribute of the container ("demux")."""

    def broken(error: Exception, where: str) -> None:
        real = av.open

        def opened(file: Any, *arguments: Any, **options: Any) -> Any:
            if not str(file).endswith("bad.mkv") or (arguments and arguments[0] == "w"):
                return real(file, *arguments, **options)
            if where == "open":
                raise error
            return Broken(real(file, *arguments, **options), error, where)

        monkeypatch.setattr(av, "open", opened)

    return broken


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv", frames=4)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"VQE_WEIGHTS_TOML": str(write_registry(tmp_path_factory.mktemp("weights")))}


@pytest.mark.parametrize("where", ["open", "streams", "demux"])
@errors
def test_one_file(
    clip: Path,
    tmp_path: Path,
    registry: dict[str, str],
    break_input: Callable[[Exception, str], None],
    error: Exception,
    where: str,
) -> None:
    """FFmpeg's errors on the way are no reason to stop: what there is is shown."""
    bad = Path(shutil.copy(clip, tmp_path / "bad.mkv"))
    break_input(error, where)
    for command in (["inspect", bad, "--no-duplicates"], ["enhance", bad, tmp_path / "out.mkv"]):
        done = vqe(*command, env=registry)
        if isinstance(error, av.error.FFmpegError) and where == "demux":
            assert "bad.mkv" in done.stderr
            assert "something went wrong inside" not in done.stderr
            continue
        said = one_sentence(done)
        assert "bad.mkv" in said
        assert ("disk" in said) == (error.args[0] == errno.EIO)
        assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("where", ["open", "streams", "format", "demux"])
def test_a_folder_goes_on(
    clip: Path,
    tmp_path: Path,
    registry: dict[str, str],
    break_input: Callable[[Exception, str], None],
    where: str,
) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.mkv", "bad.mkv", "sub/z.mkv"):
        shutil.copy(clip, tmp_path / "in" / name)
    (tmp_path / "in" / "loop").symlink_to("loop")
    (tmp_path / "in" / "loop.mkv").symlink_to("loop.mkv")
    break_input(ValueError("29 is not a valid Type"), where)
    lines = tmp_path / "lines.jsonl"
    done = vqe("enhance", tmp_path / "in", tmp_path / "out", "--json", lines, env=registry)
    assert done.code == 1
    entries = {entry["input"]: entry for entry in map(json.loads, lines.read_text().splitlines())}
    states = {name: entry["status"] for name, entry in entries.items()}
    assert states == {"a.mkv": "done", "bad.mkv": "failed", "loop.mkv": "failed", "sub/z.mkv": "done"}
    assert "bad.mkv" in entries["bad.mkv"]["error"]
    assert (tmp_path / "out" / "vqe-report.jsonl").exists()
    dry = vqe("enhance", tmp_path / "in", tmp_path / "out", "--dry-run", env=registry)
    assert dry.code == 1
    assert "sub/z.mkv" in dry.stdout


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
def test_a_closed_folder_is_reported_and_the_others_go_on(
    clip: Path, tmp_path: Path, registry: dict[str, str]
) -> None:
    (tmp_path / "in" / "closed").mkdir(parents=True)
    shutil.copy(clip, tmp_path / "in" / "a.mkv")
    (tmp_path / "in" / "closed").chmod(0)
    done = vqe("enhance", tmp_path / "in", tmp_path / "out", env=registry)
    (tmp_path / "in" / "closed").chmod(0o755)
    assert done.code == 1
    assert "closed" in done.stderr
    assert (tmp_path / "out" / "a.mkv").exists()


def test_pairs_and_clips_go_on(
    clip: Path, tmp_path: Path, break_input: Callable[[Exception, str], None]
) -> None:
    for side in ("gt", "pred"):
        (tmp_path / side).mkdir()
        for name in ("a.mkv", "bad.mkv", "c.mkv"):
            shutil.copy(clip, tmp_path / side / name)
    break_input(ValueError("29 is not a valid Type"), "streams")
    done = vqe("eval", "--gt", tmp_path / "gt", "--pred", tmp_path / "pred", "--format", "json")
    assert done.code == 1
    videos = {video["name"]: video for video in json.loads(done.stdout)["videos"]}
    assert "bad.mkv" in videos["bad"]["error"]
    assert "metrics" in videos["c"]
    out = tmp_path / "lq"
    done = vqe("compress", tmp_path / "gt", "--recipe", "qp37", "--out", out)
    assert done.code == 1
    assert sorted(path.name for path in out.glob("*.mkv")) == ["a.mkv", "c.mkv"]


def test_ffmpeg_says_why_no_picture_can_be_decoded(clip: Path, tmp_path: Path) -> None:
    """The headers are whole, the pictures are not."""
    path = write_clip(tmp_path / "clip.mp4", frames=4, codec="libx264")
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 4
    size = int.from_bytes(data[at - 8 : at - 4], "big") - 8
    data[at : at + size] = bytes([255]) * size
    path.write_bytes(data)
    said = one_sentence(vqe("inspect", path))
    assert "clip.mp4" in said
    assert "NAL" in said
