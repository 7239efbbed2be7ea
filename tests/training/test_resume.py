"""A run that was stopped and resumed ends with the very weights of one that was not."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from configurations import CRDS, FLOW, IMAGE, LATENTS, VIDEO
from training_clips import make_data

from vqe_cli.errors import VqeError
from vqe_cli.training import loop
from vqe_cli.training.schedule import Interrupted
from vqe_cli.training.schema import (
    DataConfig,
    NetworkConfig,
    ScheduleConfig,
    TrainConfig,
    ValidationConfig,
)

# Wide enough that Muon sees matrices in it.
WIDE = NetworkConfig("qecnn", {"channels": 32, "blocks": 1})


def config_of(network: NetworkConfig, precision: str = "fp32", optimizer: str = "adamw") -> TrainConfig:
    frames = 1 if network.arch == "qecnn" else 3
    return TrainConfig(
        "small",
        network,
        DataConfig({"qp37": 1.0, "qp32": 2.0}, frames=frames, crop=32, batch=2),
        ScheduleConfig(steps=6, rate=1e-3, flow_frozen=0.2, optimizer=optimizer),
        validation=ValidationConfig(clips=1),
        precision=precision,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), ("qp37", "qp32"), clips=1, frames=4)


class Killed(Exception):
    """Stands for a kill: nothing of the program runs after it."""


@pytest.mark.parametrize(
    ("network", "precision", "optimizer"),
    [
        (IMAGE, "bf16", "adamw"),
        (WIDE, "fp32", "muon"),
        (VIDEO, "fp32", "adamw"),
        (FLOW, "fp32", "adamw"),
        (LATENTS, "fp32", "adamw"),
        (CRDS, "fp32", "adamw"),
    ],
)
def test_killed_and_resumed_equals_straight(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    network: NetworkConfig,
    precision: str,
    optimizer: str,
) -> None:
    config = config_of(network, precision, optimizer)
    straight = loop.train(config, data, tmp_path / "straight")

    step_of = loop.optimise

    def killed_at_5(run: loop.Run, batch: loop.Batch, share: float) -> torch.Tensor:
        if run.step == 3:
            loop.save(run)
        if run.step == 5:
            raise Killed
        return step_of(run, batch, share)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(loop, "optimise", killed_at_5)
        loop.train(config, data, tmp_path / "split")
    resumed = loop.train(config, data, tmp_path / "split", loop.TrainOptions(resume=True))

    # The training state too, bit for bit; `elapsed_s` is time.
    first, second = (torch.load(path.parent / "last.pt", weights_only=True) for path in (straight, resumed))
    assert first["step"] == second["step"] == 6
    for section in ("network", "ema"):
        for key, value in first[section].items():
            assert torch.equal(value, second[section][key]), f"{section} {key}"
    for index, moments in first["optimizer"]["state"].items():
        for key, value in moments.items():
            assert torch.equal(
                torch.as_tensor(value), torch.as_tensor(second["optimizer"]["state"][index][key])
            )
    moved = [k for k, v in first["network"].items() if not torch.equal(v, first["ema"][k])]
    assert moved, "nothing was trained"


def test_ctrl_c_leaves_a_checkpoint(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(IMAGE)
    step_of = loop.optimise

    def signalled(run: loop.Run, batch: loop.Batch, share: float) -> torch.Tensor:
        if run.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step_of(run, batch, share)

    monkeypatch.setattr(loop, "optimise", signalled)
    with pytest.raises(Interrupted) as stopped:
        loop.train(config, data, tmp_path)
    assert stopped.value.step == 3
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_resume_refuses_another_network_and_no_checkpoint(data: Path, tmp_path: Path) -> None:
    config = config_of(IMAGE)
    with pytest.raises(VqeError, match="no checkpoint"):
        loop.train(config, data, tmp_path, loop.TrainOptions(resume=True))
    loop.train(replace(config, schedule=replace(config.schedule, steps=1)), data, tmp_path)
    wider = replace(config, network=replace(IMAGE, config={"channels": 12, "blocks": 1}))
    with pytest.raises(VqeError, match=r"holds qecnn .*'channels': 8.* asks for qecnn .*'channels': 12"):
        loop.train(wider, data, tmp_path, loop.TrainOptions(resume=True))


def test_resume_refuses_what_trains_other_weights(data: Path, tmp_path: Path) -> None:
    config = config_of(IMAGE)
    loop.train(replace(config, schedule=replace(config.schedule, steps=1)), data, tmp_path)
    frozen = replace(config, network=replace(IMAGE, frozen=("head.",)))
    with pytest.raises(VqeError, match=r"last\.pt does not fit this config .*group"):
        loop.train(frozen, data, tmp_path, loop.TrainOptions(resume=True))


@pytest.mark.slow
def test_time_budget_anneals_to_its_end(data: Path, tmp_path: Path) -> None:
    rates = []
    config = replace(config_of(IMAGE), schedule=ScheduleConfig(steps=10**6, rate=1e-3, final_rate=1e-6))
    loop.train(
        config,
        data,
        tmp_path,
        loop.TrainOptions(max_minutes=0.08),
        listen=lambda p: rates.append((p.share, p.rate)),
    )
    share, rate = rates[-1]
    assert share >= 1
    assert rate == pytest.approx(1e-6)
