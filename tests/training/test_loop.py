"""The loop itself: what it learns, tells and keeps, and what it says when a step cannot be made."""

import json
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import pytest
import torch
from configurations import FLOW, shared_work
from torch import nn
from training_clips import make_data

from vqe_cli.errors import VqeError
from vqe_cli.training import loop, tasks
from vqe_cli.training.checkpoint import read_weights
from vqe_cli.training.data import Batch
from vqe_cli.training.distributed import World
from vqe_cli.training.flow import FlowTask, smooth_motion
from vqe_cli.training.progress import Progress
from vqe_cli.training.run import Place, setup
from vqe_cli.training.schema import ScheduleConfig
from vqe_cli.training.tasks import StageTask
from vqe_cli.weights.load import read_header


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), clips=2, frames=4)


def test_it_learns_tells_and_keeps(data: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    config = replace(
        shared_work("image", batch=4), schedule=ScheduleConfig(steps=150, rate=3e-3, mse_share=0.3)
    )
    path = loop.train(config, data, tmp_path, listen=told.append)
    [measured] = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert measured["gain_db"]["qp37"] > 0.2, "blocks of a smooth texture are easy"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [each.step for each in told]
    assert lines[-1]["step"] == 150
    assert lines[-1].keys() >= {"loss", "rate", "steps_per_s", "waiting", "minutes"}
    assert told[-1].share == 1
    header = read_header(path)
    assert header.card["iterations"] == 150
    assert header.card["gain_db_on_val_while_training"]["qp37"] == round(measured["gain_db"]["qp37"], 3)
    # The best is the last here: there was one validation.
    best, last = read_weights(tmp_path / "best.safetensors"), read_weights(path)
    assert all(torch.equal(value, last[key]) for key, value in best.items())
    with av.open(str(tmp_path / "worst.png")) as picture:
        [frame] = picture.decode(video=0)
    assert (frame.width, frame.height) == (3 * 3 * 64, 3 * 64)  # three crops, enlarged three times


def test_best_weights_stay_when_the_figures_fall(data: Path, tmp_path: Path) -> None:
    run = setup(shared_work("image", batch=2), place(data), tmp_path, resume=False)
    figures = iter([0.3, 0.3, 0.1, 0.1])

    class Falling(StageTask):
        def measure(self, network: nn.Module, pair: Any) -> float:
            return next(figures)

    run.task = Falling(run.config, torch.device("cpu"))
    loop.validate(run, loop.threading.Event())
    kept = (tmp_path / "best.safetensors").read_bytes()
    for parameter in run.ema.parameters():
        parameter.add_(1)
    loop.validate(run, loop.threading.Event())
    assert run.best == pytest.approx(0.3)
    assert (tmp_path / "best.safetensors").read_bytes() == kept


def place(data: Path) -> Place:
    return Place(data, torch.device("cpu"), World(), lambda _: None)


@pytest.mark.parametrize(("fits", "remedy"), [(5, "--set data.batch=5 fits"), (0, "Not even one clip fits")])
def test_out_of_memory_names_the_batch_that_fits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: int, remedy: str
) -> None:
    loss = StageTask.loss

    def greedy(task: StageTask, network: nn.Module, batch: Batch, share: float) -> torch.Tensor:
        if len(batch.lq) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss(task, network, batch, share)

    monkeypatch.setattr(tasks.StageTask, "loss", greedy)
    # Several threads would each get a part of the batch that fits.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.raises(VqeError, match=r"out of memory with 8 clips a step") as raised:
            loop.train(shared_work("image", batch=8), data, tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert remedy in raised.value.remedy


def test_out_of_memory_outside_steps(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: Any) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(tasks.StageTask, "measure", greedy)
    with pytest.raises(VqeError, match="out of memory while measuring"):
        loop.train(shared_work("image", batch=2), data, tmp_path / "measuring")
    assert (tmp_path / "measuring/last.pt").is_file()
    monkeypatch.setattr(loop, "setup", greedy)
    with pytest.raises(VqeError, match="out of memory while setting up"):
        loop.train(shared_work("image", batch=2), data, tmp_path)


def test_other_errors_are_not_called_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(task: StageTask, network: nn.Module, batch: Batch, share: float) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(tasks.StageTask, "loss", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        loop.train(shared_work("image", batch=2), data, tmp_path)


def test_a_loss_that_is_no_number_ends_the_run(data: Path, tmp_path: Path) -> None:
    config = replace(shared_work("image", batch=2), schedule=ScheduleConfig(steps=50, rate=1e30, warmup=0))
    with pytest.raises(VqeError, match=r"the loss is no longer a number at step"):
        loop.train(config, data, tmp_path)
    assert not (tmp_path / "last.pt").exists()


def test_tensorboard_when_it_is_installed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that stands for TensorBoard, which is no dependency, gets the curves."""
    told: dict[str, list[int]] = {}

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.setdefault(name, []).append(step)

    package = ModuleType("tensorboard")
    package.__spec__ = ModuleSpec("tensorboard", None)
    board = ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    loop.train(shared_work("image", batch=2), data, tmp_path)
    assert told == {name: [6] for name in ("loss", "rate", "steps_per_s", "gain_db/qp37")}


def test_flow_network_reports_the_warped_neighbour(data: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    path = loop.train(shared_work("flow", batch=2), data, tmp_path, listen=told.append)
    [measured] = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert 10 < measured["warped_psnr_db"]["qp37"] < 60
    card = read_header(path).card
    assert card["warped_psnr_db_on_val_while_training"].keys() == {"qp37"}
    assert {each.figure for each in told} == {"warped_psnr_db"}


def test_log_on_a_full_disk(data: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(VqeError, match=r"cannot write .*log.jsonl \(No space left"):
        loop.train(shared_work("image", batch=2), data, tmp_path)


def test_flow_task_knows_its_motions(data: Path, tmp_path: Path) -> None:
    """A network that answers with the true motion has no error; the amplitudes are those asked for."""
    motions = torch.stack(
        [smooth_motion(torch.Generator().manual_seed(n), (64, 64), 0.8, 16.0) for n in range(200)]
    )
    sizes = motions.norm(dim=1).amax(dim=(1, 2))
    assert 0.1 < sizes.median() < 16
    assert motions.diff(dim=-1).abs().max() < 8, "neighbours move alike"
    again = smooth_motion(torch.Generator().manual_seed(3), (64, 64), 0.8, 16.0)
    assert torch.equal(again, motions[3])

    run = setup(replace(shared_work("flow", batch=2), network=FLOW), place(data), tmp_path, resume=False)
    assert isinstance(run.task, FlowTask)
    batch = run.sampler.batch(0)
    first = run.task.loss(run.network, batch, 0.0)
    assert torch.equal(first, run.task.loss(run.network, batch, 0.0)), "draws come from the clips' seeds"
    other = replace(batch, seeds=(1, 2))
    assert not torch.equal(first, run.task.loss(run.network, other, 0.0))
    # Photometric: perfect for a clip that stands still and a flow of zero.
    still = replace(batch, lq=batch.gt[:, :1].expand_as(batch.gt), gt=batch.gt[:, :1].expand_as(batch.gt))
    for level in run.network.basic_module:  # type: ignore[union-attr]
        nn.init.zeros_(level.basic_module[-1].conv.weight)  # type: ignore[union-attr,arg-type]
    with torch.no_grad():
        photometric = float(run.task.loss(run.network, still, 1.0))
    assert photometric == pytest.approx(10 * 1e-3, abs=1e-4)
