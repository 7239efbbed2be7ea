"""Gradients by a bfloat16 copy and by several threads, against plain float32 backpropagation."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from configurations import FLOW, IMAGE, VIDEO
from torch import Tensor
from training_clips import make_data

from vqe_cli.training import checkpoint, loop
from vqe_cli.training.distributed import World
from vqe_cli.training.run import Place, Run, setup
from vqe_cli.training.schema import (
    DataConfig,
    NetworkConfig,
    ScheduleConfig,
    TrainConfig,
    ValidationConfig,
)

SHARE = 0.5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), clips=2, frames=4)


@pytest.fixture
def threads() -> Iterator[None]:
    """Keeps the number of threads of the other tests."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run_of(data: Path, folder: Path, network: NetworkConfig, precision: str, rate: float = 1e-3) -> Run:
    config = TrainConfig(
        "small",
        network,
        DataConfig({"qp37": 1.0}, frames=1 if network.arch == "qecnn" else 3, crop=32, batch=3),
        ScheduleConfig(steps=2, rate=rate, warmup=0.0, loss="psnr", mse_share=0.0),
        validation=ValidationConfig(clips=1),
        precision=precision,
    )
    run = setup(config, Place(data, torch.device("cpu"), World(), lambda _: None), folder, resume=False)
    torch.manual_seed(1)
    with torch.no_grad():
        for (
            parameter
        ) in run.network.parameters():  # a network's last layer starts at zero, and so the others' gradients
            parameter.add_(0.02 * torch.randn_like(parameter))
    return run


def plain(run: Run) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of a whole batch, by the network itself in float32."""
    run.network.zero_grad()
    loss = run.task.loss(run.network, run.sampler.batch(0), SHARE)
    loss.backward()
    return loss.detach(), gradients(run)


def gradients(run: Run) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in run.network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("network", [IMAGE, VIDEO, FLOW])
def test_threads_compute_the_gradients_of_the_whole_batch(
    data: Path, tmp_path: Path, threads: None, network: NetworkConfig
) -> None:
    torch.set_num_threads(2)
    run = run_of(data, tmp_path, network, "fp32")
    assert torch.get_num_threads() == 2, "what is outside of the steps still has its threads"
    expected_loss, expected = plain(run)
    loss = run.gradients.compute(run.sampler.batch(0), SHARE)
    torch.testing.assert_close(loss, expected_loss)
    assert gradients(run).keys() == expected.keys()
    for name, gradient in gradients(run).items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-4, atol=1e-5 * float(expected[name].abs().max())
        )
    again = gradients(run)
    run.gradients.compute(run.sampler.batch(0), SHARE)
    assert all(torch.equal(value, again[name]) for name, value in gradients(run).items())


@pytest.mark.parametrize("network", [IMAGE, VIDEO])
def test_bf16_gradients_point_where_float32_ones_do(
    data: Path, tmp_path: Path, network: NetworkConfig
) -> None:
    run = run_of(data, tmp_path, network, "bf16")
    expected_loss, expected = plain(run)
    loss = run.gradients.compute(run.sampler.batch(0), SHARE)
    assert float(loss) == pytest.approx(float(expected_loss), rel=0.02)
    found = gradients(run)
    assert found.keys() == expected.keys()
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    ours, theirs = (torch.cat([g.flatten() for g in by.values()]) for by in (found, expected))
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.995
    assert float(ours.norm() / theirs.norm()) == pytest.approx(1, abs=0.02)


def test_steps_too_small_for_bf16_add_up(data: Path, tmp_path: Path) -> None:
    run = run_of(data, tmp_path, IMAGE, "bf16", rate=1e-6)
    before = {name: p.detach().clone() for name, p in run.network.named_parameters()}
    for _ in range(2):
        loop.optimise(run, run.sampler.batch(0), share=0.0)
    weight, was = run.network.get_parameter("body.0.conv1.weight"), before["body.0.conv1.weight"]
    assert weight.dtype == torch.float32
    unseen = weight.bfloat16() == was.bfloat16()
    assert unseen.float().mean() > 0.8, (
        "the steps are to be smaller than the distance of two bfloat16 numbers"
    )
    assert (weight != was)[unseen].float().mean() > 0.8


def test_checkpoints_hold_float32_weights_of_the_network_alone(data: Path, tmp_path: Path) -> None:
    run = run_of(data, tmp_path, IMAGE, "bf16")
    loop.optimise(run, run.sampler.batch(0), SHARE)
    loop.save(run)
    state = checkpoint.load_state(tmp_path / checkpoint.LAST, run.config)
    assert state["network"].keys() == run.network.state_dict().keys()
    assert {value.dtype for value in state["network"].values()} == {torch.float32}
    other = setup(replace(run.config, precision="fp32"), run.place, tmp_path, resume=True)
    assert all(
        torch.equal(value, other.network.state_dict()[name]) for name, value in state["network"].items()
    )
