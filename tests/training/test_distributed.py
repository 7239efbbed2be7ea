"""Two processes by torchrun learn what one process learns with twice the batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from configurations import shared_work
from training_clips import make_data

from vqe_cli.training import loop, progress

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), clips=2, frames=4)


def losses_of(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", ["video", "flow"])
@pytest.mark.slow
def test_same_losses_as_one_with_twice_the_batch(
    data: Path, tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    paths = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parent.parent)])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(str(HERE / "two_processes.py"), task, str(data), str(two)),
        ],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(progress, "TELL_STEPS", 1)
    loop.train(shared_work(task, batch=4), data, one)

    assert len(losses_of(two)) == 6
    assert losses_of(two) == pytest.approx(losses_of(one), rel=2e-4)
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (two, one)]
    for key, value in states[0]["ema"].items():
        torch.testing.assert_close(value, states[1]["ema"][key], atol=2e-5, rtol=2e-3)
    figures = [json.loads((folder / "curve.jsonl").read_text())["clips"] for folder in (two, one)]
    assert figures[0].keys() == figures[1].keys()
    assert figures[0] == pytest.approx(figures[1], abs=0.01)
    # One process writes.
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
