"""What CRDS learns is what its paper's equations say."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from configurations import CRDS, IMAGE, LATENTS
from conftest import ROOT
from torch import Tensor, nn
from training_clips import make_data

from vqe_cli import networks
from vqe_cli.training import loop
from vqe_cli.training.checks import contradictions
from vqe_cli.training.config import load
from vqe_cli.training.data import Batch
from vqe_cli.training.optimizer import parameter_groups
from vqe_cli.training.schedule import group_rate
from vqe_cli.training.schema import (
    DataConfig,
    NetworkConfig,
    ScheduleConfig,
    TrainConfig,
    ValidationConfig,
)
from vqe_cli.training.tasks import LatentTask, ResidualPropagationTask
from vqe_cli.weights.load import read_header

CPU = torch.device("cpu")


def config_of(network: NetworkConfig, **schedule: float) -> TrainConfig:
    return TrainConfig(
        "small",
        network,
        DataConfig({"qp37": 1.0}, frames=3, crop=32, batch=2),
        ScheduleConfig(steps=4, rate=1e-3, mse_share=0, **schedule),  # type: ignore[arg-type]
        validation=ValidationConfig(clips=1),
        precision="fp32",
    )


def batch_of(count: int = 2, frames: int = 3) -> Batch:
    torch.manual_seed(4)
    gt = torch.rand(count, frames, 3, 16, 16)
    lq = gt + 0.05 * torch.randn_like(gt)
    ones = torch.ones(count, frames)
    return Batch(lq, gt, 37 * ones, ones.bool(), 0.0025 * ones, tuple(range(count)))


def randomised(network: NetworkConfig) -> nn.Module:
    torch.manual_seed(1)
    net = networks.build(network.arch, network.config)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.05)
    return net


class Perfect(nn.Module):
    """Gives back the better picture, and remembers what it was asked."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, worse: Tensor, better: Tensor) -> Tensor:
        self.asked.append((worse, better))
        return better + self.error


def test_pairs_of_the_autoencoder_are_those_of_equations_8_to_10() -> None:
    batch, network = batch_of(count=6), Perfect(0.1)
    loss = LatentTask(config_of(LATENTS), CPU).loss(network, batch, 0.0)
    [(worse, better)] = network.asked
    assert torch.equal(worse, batch.lq.flatten(0, 1))
    whole = batch.lq - batch.gt
    shares = ((better.unflatten(0, (6, 3)) - batch.gt) / whole).mean(dim=(1, 2, 3, 4))
    assert all(min(abs(float(share) - s / 4) for s in range(4)) < 1e-3 for share in shares)
    assert len({round(float(share), 2) for share in shares}) > 1
    expected = 20 * (0.1**2 / (shares + 0.25)).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-3)


def test_levels_between_are_supervised_for_the_first_share_of_the_run() -> None:
    """Equations 16 and 17; two blocks have one level between, the mean of input and truth."""
    batch, net = batch_of(), randomised(CRDS)
    alone = ResidualPropagationTask(config_of(CRDS), CPU)
    both = ResidualPropagationTask(config_of(CRDS, intermediate=0.3, intermediate_share=0.5), CPU)
    levels = net.latents(batch.lq, batch.pqf, batch.qp)
    between = net.decoded(batch.lq, levels[0], levels[1])
    extra = 0.3 * 20 * (between - (batch.lq + batch.gt) / 2).square().mean()
    early, late = (float(both.loss(net, batch, share).detach()) for share in (0.4, 0.6))
    assert late == pytest.approx(float(alone.loss(net, batch, 0.6).detach()), rel=1e-6)
    assert early == pytest.approx(late + float(extra.detach()), rel=1e-4)


def test_the_encoder_rests_as_long_as_the_schedule_says() -> None:
    schedule = config_of(CRDS, encoder_frozen=0.25, flow_frozen=0.5).schedule
    groups = {group["part"]: group["params"] for group in parameter_groups(randomised(CRDS))}
    assert set(groups) == {"rest", "encoder", "flow"}
    assert group_rate(0.2, schedule, "encoder") == 0 == group_rate(0.4, schedule, "flow")
    assert group_rate(0.3, schedule, "encoder") == group_rate(0.3, schedule, "rest") > 0


@pytest.mark.parametrize("key", ["intermediate", "encoder_frozen"])
def test_other_networks_have_no_such_schedule(key: str) -> None:
    assert any("crds" in problem for problem in contradictions(config_of(IMAGE, **{key: 0.3})))
    assert not contradictions(config_of(CRDS, **{key: 0.3}))


def test_the_paper_s_config_is_one() -> None:
    config = load(ROOT / "configs/paper/crds.yaml")
    latents, main = config.all_phases()
    assert latents.network.arch == "latent_autoencoder" and main.network.arch == "crds"
    assert main.schedule.steps * main.schedule.encoder_frozen == pytest.approx(20_000, rel=0.01)
    assert main.schedule.steps * main.schedule.flow_frozen == pytest.approx(5_000, rel=0.01)


def test_the_whole_starts_from_the_autoencoder(tmp_path: Path) -> None:
    """Both phases of the tiny config, shortened: encoder and decoder are taken over."""
    data = make_data(tmp_path / "data", clips=1, frames=4)
    config = load(ROOT / "configs/crds_tiny.yaml")
    short = tuple(
        replace(phase, schedule=replace(phase.schedule, steps=2), data=replace(phase.data, crop=32))
        for phase in config.phases
    )
    path = loop.train(replace(config, phases=short), data, tmp_path / "run")
    header = read_header(path)
    assert header.arch == "crds" and header.config["peaks"]
    assert [phase["phase"] for phase in header.card["phases_before"]] == ["latents"]
