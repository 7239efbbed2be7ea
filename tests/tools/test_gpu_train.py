"""The kit for a borrowed machine, rehearsed in small on a CPU, from packing to learning in pieces."""

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest
from conftest import ROOT
from training_clips import make_data, moving_picture


def kit(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/gpu_train.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def write_photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = moving_picture(seed, 1, 384, 320)[0]
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 384, 320, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.slow
def test_a_training_in_pieces(tmp_path: Path) -> None:
    source = make_data(tmp_path / "source", clips=2, frames=4)
    for clip in (source / "train" / "lq" / "qp37").iterdir():
        clip.unlink()
    for seed in range(2):
        write_photograph(source / "photographs" / f"photo{seed}.jpg", seed)
    packed = kit("pack", source, "--out", tmp_path / "parts", "--mib", 1.1)
    parts = sorted((tmp_path / "parts").iterdir())
    assert packed.returncode == 0 and len(parts) > 1
    assert all(part.stat().st_size < 1.1 * 2**20 for part in parts)

    data = tmp_path / "data"
    for part in parts:  # as copies arrive one after the other
        assert kit("unpack", part, "--data", data).returncode == 0
    done = kit("versions", "--data", data, "--recipes", "qp37", "--frames", 4)
    assert done.returncode == 0, done.stderr
    assert len(list((data / "train/raw").glob("*.mkv"))) == 4
    assert len(list((data / "train/lq/qp37").glob("*.mkv"))) == 4

    sets = ["--set", "data.crop=32", "--set", "data.batch=2", "--set", "precision=fp32"]
    config = tmp_path / "small.yaml"
    config.write_text(
        "name: small\nnetwork: {arch: qecnn, config: {channels: 8, blocks: 1}}\ndata: {recipes: {qp37: 1}}\n"
        "schedule: {steps: 100000}\nvalidation: {recipes: [qp37], clips: 1, every_minutes: 60}\n"
    )
    one, two = tmp_path / "one", tmp_path / "two"
    for out, earlier in ((one, []), (two, ["--from", one])):
        learned = kit(
            *("learn", "--config", config, "--data", data, "--out", out, *earlier, *sets),
            *("--minutes", 0.25, "--total", 30),
        )
        assert learned.returncode == 0, learned.stderr
    one_step, two_step = (
        max(json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines())
        for folder in (one, two)
    )
    assert 0 < one_step < two_step
    assert all(file.stat().st_size < 16 * 2**20 for file in two.iterdir())
