"""Three ways of alignment behind one interface: what each does to features that moved by whole pixels."""

import pytest
import torch
from torch import Tensor

from vqe_cli import networks
from vqe_cli.networks.alignment import ALIGNMENTS, new_alignment

CHANNELS, SPATIAL = 8, 6


def moved(shift: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A picture's features, two neighbours in which they lie `shift` pixels to the right, the condition, a
    flow."""
    torch.manual_seed(shift)
    still = torch.rand(1, CHANNELS, 12, 16)
    neighbour = torch.roll(still, shift, dims=3)
    flow = torch.zeros(1, 2, 12, 16)
    flow[:, 0] = shift
    cond = torch.cat([still, torch.rand(1, SPATIAL, 12, 16), still], dim=1)
    return still, torch.cat([neighbour, neighbour], dim=1), cond, flow


@pytest.mark.parametrize("shift", [0, 3])
def test_warped_features_lie_where_the_frame_has_them(shift: int) -> None:
    still, neighbours, cond, flow = moved(shift)
    aligned = new_alignment("warp", CHANNELS, SPATIAL, 2, 10.0)(neighbours, cond, flow, flow)
    inside = slice(0, 16 - shift)
    assert torch.allclose(aligned[..., inside], still[..., inside], atol=1e-5)


def test_attention_predicts_from_around_the_end_of_the_flow() -> None:
    """Without a preference the window's mean comes out; it follows the flow."""
    still, neighbours, cond, flow = moved(3)
    align = new_alignment("muna", CHANNELS, SPATIAL, 2, 10.0)
    query = align.muna.attentions[0].query
    for parameter in (query.weight, query.bias, align.muna.refine.conv2.weight):
        torch.nn.init.zeros_(parameter)
    aligned = align(neighbours, cond, flow, flow)
    mean = torch.nn.functional.avg_pool2d(still, 3, 1, 1)
    assert torch.allclose(aligned[..., 1:-1, 1:11], mean[..., 1:-1, 1:11], atol=1e-4)


@pytest.mark.parametrize("kind", ALIGNMENTS)
def test_gradients_reach_neighbours_condition_and_weights(kind: str) -> None:
    still, neighbours, cond, flow = moved(1)
    align = new_alignment(kind, CHANNELS, SPATIAL, 2, 10.0)
    for parameter in align.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    neighbours.requires_grad_(), cond.requires_grad_()
    aligned = align(neighbours, cond, flow, flow)
    assert aligned.shape == still.shape
    aligned.square().sum().backward()
    assert neighbours.grad is not None and neighbours.grad.any()
    if kind != "warp":
        assert cond.grad is not None and cond.grad.any()
    assert all(p.grad is not None for p in align.parameters())


def test_an_alignment_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="deformable, muna, warp, not 'optical'"):
        networks.build("basicvsrpp", {"alignment": "optical"})
