"""A training process that is killed (SIGKILL) and resumed ends with the weights of one that was not."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command import START, process_env
from training_clips import make_data

# Checkpoints all the time, so that the kill comes while one is written, or soon after.
OFTEN = "from vqe_cli.training import schedule; schedule.CHECKPOINT_EVERY_S = 0.02; "
CONFIG = """
name: small
network: {arch: qecnn, config: {channels: 8, blocks: 1}}
data: {recipes: {qp37: 1}, crop: 32, batch: 2}
schedule: {steps: 20, rate: 1e-3}
validation: {clips: 1}
precision: fp32
phases:
  - {phase: first}
  - {phase: second, network: {config: {blocks: 2}}, schedule: {steps: 150}}
"""


def started(config: Path, data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    arguments = ["train-stage", "1", "--config", str(config), "--data", str(data), "--out", str(out), *more]
    return subprocess.Popen(
        [sys.executable, "-c", OFTEN + START, *arguments],
        env=process_env(),
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(config: Path, data: Path, out: Path, *more: str) -> dict[str, dict[str, torch.Tensor]]:
    """What the last checkpoint of a run holds that came to its end."""
    process = started(config, data, out, *more)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return torch.load(out / "2-second/last.pt", weights_only=True)


@pytest.mark.slow
def test_killed_process_resumed_equals_straight(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", clips=1, frames=2)
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG)
    straight = finished(config, data, tmp_path / "straight")

    out = tmp_path / "killed"
    process = started(config, data, out)
    log = out / "2-second/log.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) >= 10):
        assert process.poll() is None, "it never came so far"
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not (out / "small.safetensors").exists(), "it was killed too late"
    assert 0 < torch.load(out / "2-second/last.pt", weights_only=True)["step"] < 150

    resumed = finished(config, data, out, "--resume")
    assert resumed["step"] == straight["step"] == 150
    for section in ("network", "ema"):
        for key, value in straight[section].items():
            assert torch.equal(value, resumed[section][key]), f"{section} {key}"
