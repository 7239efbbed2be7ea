"""`vqe enhance --progress json`: one JSON object a line on stderr."""

import json
from pathlib import Path

import pytest
from command import vqe, vqe_process
from made_clips import write_clip
from tiny_weights import write_registry

from vqe_cli.cli.progress_json import JsonDisplay
from vqe_cli.runs.report import Progress, Summary

PLAN = Summary("best", "CPU", "bf16", 16, 10, ((0, 0),), 8, 100, (480, 272), (960, 544))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("progress")
    write_registry(folder)
    (folder / "in").mkdir()
    write_clip(folder / "in" / "a.mkv", frames=30)
    return folder


def test_a_run_of_a_file(folder: Path, tmp_path: Path) -> None:
    """The real process: nothing but JSON lines on stderr, the last of them with all frames."""
    source = folder / "in" / "a.mkv"
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    options = ["--progress", "json", "--segment", "8"]
    done = vqe_process("enhance", source, tmp_path / "out.y4m", *options, env=env)
    assert (done.code, done.stdout) == (0, "")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["file"] for line in lines} == {str(source)}
    assert any("y4m" in line.get("warning", "") for line in lines)
    shown = [line for line in lines if "frames" in line]
    assert shown[0].keys() == {"file", "frames", "total", "fps", "seconds_left", "segment"}
    assert (shown[-1]["frames"], shown[-1]["total"], shown[-1]["segment"]) == (30, 30, 3)
    assert lines[-1]["status"] == "done" and lines[-1]["report"]["frames"] == 30


def test_a_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "in" / "bad.mkv").write_text("no video")
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    done = vqe("enhance", folder / "in", tmp_path / "out", "--progress", "json", env=env)
    assert done.code == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["file"]: line["status"] for line in lines if "status" in line} == {
        "a.mkv": "done",
        "bad.mkv": "failed",
    }
    assert [line["frames"] for line in lines if line["file"] == str(folder / "in" / "a.mkv")][-1] == 30


def test_speed_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """40 frames were there already; 16 more take 8 seconds. At most a line a second, and the last frame."""
    now = [0.0]
    with JsonDisplay("in.mkv", clock=lambda: now[0]) as shown:
        shown.listen(PLAN)
        for frames in range(41, 57):
            now[0] += 0.5
            shown.listen(Progress(frames, 100, 2))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert 8 <= len(lines) <= 10
    assert lines[-1] == {
        "file": "in.mkv",
        "frames": 56,
        "total": 100,
        "fps": 2.0,
        "seconds_left": 22.0,
        "segment": 2,
    }


def test_another_kind_is_wrong_usage(folder: Path, tmp_path: Path) -> None:
    done = vqe("enhance", folder / "in" / "a.mkv", tmp_path / "out.mkv", "--progress", "xml")
    assert done.code == 2 and "--progress" in done.stderr
