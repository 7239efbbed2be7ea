"""The blend of neighbours, solved by least squares."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vqe_cli import networks
from vqe_cli.networks.motion_fusion import MotionFusion
from vqe_cli.training.data import Batch
from vqe_cli.training.start import MARGIN, fit_blend

CONFIG = {"spatial": {"channels": 8, "blocks": 1, "unshuffle": 2}, "blocks": 1}


def noisy(seed: int, noise: float = 0.02, qp: float = 37.0) -> Batch:
    """A still picture whose frames err independently of each other."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 12, 12, generator=generator)
    truth = torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bicubic").clamp(0.1, 0.9)
    gt = truth[:, None].expand(1, 5, 3, 48, 48)
    lq = gt + noise * torch.randn(gt.shape, generator=generator)
    peaks = torch.tensor([[True, False, False, True, False]])
    return Batch(lq, gt, torch.full((1, 5), qp), peaks, errors_of(lq, gt))


def errors_of(lq: Tensor, gt: Tensor) -> Tensor:
    """As if each crop were its whole picture."""
    return (lq - gt).square().mean(dim=(2, 3, 4))


@pytest.fixture
def network() -> MotionFusion:
    torch.manual_seed(1)
    network = networks.build("motion_fusion", CONFIG)
    assert isinstance(network, MotionFusion)
    return network


@torch.no_grad()
def error(network: MotionFusion, batch: Batch) -> Tensor:
    """Squared error of each frame, where motion can be found."""
    inside = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    output = network(batch.lq, batch.pqf, batch.qp)
    return (output - batch.gt)[inside].square().mean(dim=(0, 2, 3, 4))


def test_neighbours_halve_noise_that_is_not_theirs(network: MotionFusion) -> None:
    fit_blend(network, [noisy(seed) for seed in range(6)], bf16=False)
    fresh = noisy(99)
    single = (fresh.lq - fresh.gt).square().mean()
    assert error(network, fresh).max() < 0.6 * single
    # Frames that are each other's copies have nothing to give.
    still = replace(fresh, lq=fresh.lq[:, :1].expand(1, 5, 3, 48, 48))
    with torch.no_grad():
        assert torch.allclose(network(still.lq, still.pqf, still.qp), still.lq, atol=1e-3)


def test_no_step_away_from_it_is_better(network: MotionFusion) -> None:
    """Of the equations that it was solved from: the slope of their error is nearly zero."""
    batches = [noisy(seed) for seed in range(3)]
    slopes = []
    for solve in (False, True):
        if solve:
            fit_blend(network, batches, bf16=False)
        network.zero_grad()
        for batch in batches:
            output = network(batch.lq, batch.pqf, batch.qp)
            inside = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
            (output - batch.gt)[inside].square().mean().backward()
        assert network.blend.weight.grad is not None
        slopes.append(network.blend.weight.grad.norm())
    assert slopes[1] < 0.2 * slopes[0]


def test_the_qp_says_how_much_neighbours_are_worth(network: MotionFusion) -> None:
    """Fitted where frames of QP 22 are their own best guess, it leaves these alone and not those of QP 42."""
    agreeing = [noisy(seed, qp=22.0) for seed in range(4)]
    agreeing = [replace(b, gt=b.lq) for b in agreeing]
    fit_blend(network, [*agreeing, *(noisy(seed, qp=42.0) for seed in range(4))], bf16=False)
    with torch.no_grad():
        moved = [
            (network(b.lq, b.pqf, b.qp) - b.lq).square().mean()
            for b in (noisy(99, qp=22.0), noisy(99, qp=42.0))
        ]
    assert moved[0] < 0.1 * moved[1]


def test_better_neighbours_are_worth_more(network: MotionFusion) -> None:
    """Fitted where the QP tells how much frames err, frames take more of better ones than of worse ones."""

    def uneven(seed: int) -> Batch:
        """Frames of QP 42, of which every other one errs half as much and has QP 32."""
        batch = noisy(seed, qp=42.0)
        better = torch.arange(5) % 2 == seed % 2
        share = torch.where(better, 0.5, 1.0)[:, None, None, None]
        lq = batch.gt + share * (batch.lq - batch.gt)
        qp = torch.where(better, 32.0, 42.0)[None]
        return replace(batch, lq=lq, qp=qp, errors=errors_of(lq, batch.gt))

    fit_blend(network, [uneven(seed) for seed in range(8)], bf16=False)
    fresh = uneven(98)
    told = error(network, fresh)[1:4].mean()
    with torch.no_grad():
        network.blend.weight[1::2] = 0  # what the others' QPs say
    assert told < 0.95 * error(network, fresh)[1:4].mean()
