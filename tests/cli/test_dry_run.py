"""`vqe enhance --dry-run`: the plan on stdout, nothing written, the errors that the run would have."""

import json
from pathlib import Path

import pytest
from command import one_sentence, vqe
from made_clips import write_clip
from tiny_weights import write_registry


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dry")
    write_clip(folder / "in.mkv", frames=5, sound=True)
    write_registry(folder)
    return folder


def test_the_plan_of_a_file(folder: Path) -> None:
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    before = sorted(folder.iterdir())
    done = vqe("enhance", folder / "in.mkv", folder / "out.mkv", "--crf", "10", "--dry-run", env=env)
    assert (done.code, done.stderr) == (0, "")
    reads, runs, writes, takes, *_ = done.stdout.splitlines()
    assert "hevc 48x32, 5 frames (0.5 s), 1 other stream" in reads
    assert "tiny on CPU" in runs and "chunks of 8 frames" in runs
    assert "libx265 yuv420p at CRF 10, " in writes and writes.endswith(" free")
    assert " MB of memory (" in takes
    done = vqe("enhance", folder / "in.mkv", folder / "out.mkv", "--dry-run", "--json", "-", env=env)
    document = json.loads(done.stdout)
    assert document["plan"]["frames"] == 5
    assert document["output"]["bytes_least"] < document["output"]["bytes_most"]
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("output", "options", "word"),
    [
        ("out.webm", [], "webm"),
        ("in.mkv", [], "input itself"),
        ("out.mkv", ["--model", "tinny"], "'tiny'"),
        ("out.mkv", ["--codec", "libx265", "--pix-fmt", "yuva444p"], "yuva444p"),
    ],
)
def test_what_a_run_would_refuse_is_refused(folder: Path, output: str, options: list[str], word: str) -> None:
    env = {"VQE_WEIGHTS_TOML": str(folder / "weights.toml")}
    done = vqe("enhance", folder / "in.mkv", folder / output, *options, "--dry-run", env=env)
    assert word in one_sentence(done)
