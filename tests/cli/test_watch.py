"""`vqe enhance IN_DIR OUT_DIR --watch`: files that arrive and have stopped growing, until Ctrl-C."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import START, one_sentence, process_env, vqe
from made_clips import decoded, write_clip
from tiny_weights import write_registry

from vqe_cli.runs import watch


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watch")
    write_registry(folder)
    return write_clip(folder / "clip.mkv", frames=4)


@pytest.fixture
def env(clip: Path) -> dict[str, str]:
    return {"VQE_WEIGHTS_TOML": str(clip.parent / "weights.toml")}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterator[None]], None]:
    """Between two looks the next step of a story is told; at its end Ctrl-C is pressed."""

    def tell(story: Iterator[None]) -> None:
        def next_step(seconds: float) -> None:
            try:
                next(story)
            except StopIteration:
                raise KeyboardInterrupt from None

        monkeypatch.setattr(watch, "sleep", next_step)

    return tell


def test_files_are_taken_when_they_have_stopped_growing(
    clip: Path, tmp_path: Path, env: dict[str, str], pauses: Callable[[Iterator[None]], None]
) -> None:
    (tmp_path / "in" / "below").mkdir(parents=True)
    source, out = tmp_path / "in" / "below" / "grows.mkv", tmp_path / "out"
    content = clip.read_bytes()

    def story() -> Iterator[None]:
        for part in range(1, 8):  # longer than a file must be quiet
            source.write_bytes(content[: len(content) * part // 8])
            yield
            assert not (out / "below").exists()
        source.write_bytes(content)
        (tmp_path / "in" / "bad.mkv").write_text("no video")
        (tmp_path / "in" / "notes.txt").write_text("no video, and not named like one")
        for _ in range(watch.QUIET_POLLS):
            yield
        assert len(decoded(out / "below" / "grows.mkv")) == 4
        shutil.copyfile(clip, tmp_path / "in" / "bad.mkv")  # put right
        for _ in range(watch.QUIET_POLLS + 2):
            yield

    pauses(story())
    lines = tmp_path / "lines.jsonl"
    done = vqe("enhance", tmp_path / "in", out, "--watch", "--json", lines, env=env)
    assert done.code == 130, done.stderr
    assert "2 done, 1 failed" in done.stderr
    states = [(line["input"], line["status"]) for line in map(json.loads, lines.read_text().splitlines())]
    assert states == [("bad.mkv", "failed"), ("below/grows.mkv", "done"), ("bad.mkv", "done")]


def test_what_was_done_before_is_skipped(
    clip: Path, tmp_path: Path, env: dict[str, str], pauses: Callable[[Iterator[None]], None]
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copyfile(clip, tmp_path / "in" / "a.mkv")
    for expected in ("1 done", "0 done, 1 skipped"):
        pauses(iter([None] * watch.QUIET_POLLS))
        done = vqe("enhance", tmp_path / "in", tmp_path / "out", "--watch", env=env)
        assert done.code == 130 and expected in done.stderr


@pytest.mark.parametrize("name", ["in", "out"])
def test_a_folder_that_vanishes(
    name: str, tmp_path: Path, env: dict[str, str], pauses: Callable[[Iterator[None]], None]
) -> None:
    (tmp_path / "in").mkdir()

    def story() -> Iterator[None]:
        shutil.rmtree(tmp_path / name)
        yield

    pauses(story())
    done = vqe("enhance", tmp_path / "in", tmp_path / "out", "--watch", env=env)
    assert f"{name} has vanished" in one_sentence(done)


def test_a_file_is_not_watched(clip: Path, tmp_path: Path, env: dict[str, str]) -> None:
    assert "--watch" in one_sentence(vqe("enhance", clip, tmp_path / "out.mkv", "--watch", env=env))
    assert "none" in one_sentence(vqe("enhance", tmp_path / "none", tmp_path / "out", "--watch", env=env))


@pytest.mark.slow
def test_the_real_process(clip: Path, tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "in").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", START, "enhance", tmp_path / "in", tmp_path / "out", "--watch"],
        env=process_env(env),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        shutil.copyfile(clip, tmp_path / "in" / "a.mkv")
        until = time.monotonic() + 90
        while not (tmp_path / "out" / "a.mkv").exists() and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "1 done" in errors, errors
    assert len(decoded(tmp_path / "out" / "a.mkv")) == 4
