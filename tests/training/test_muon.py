"""Muon against a singular value decomposition and against Adam of PyTorch."""

import torch
from torch import nn

from vqe_cli.training.optimizer import Muon, orthogonal


def test_orthogonal_keeps_directions_and_evens_out_sizes() -> None:
    torch.manual_seed(0)
    for shape in ((3, 64, 576), (2, 96, 32)):
        matrices = torch.randn(shape)
        matrices[:, 0] *= 20  # singular values far from each other
        made = orthogonal(matrices)
        values = torch.linalg.svdvals(made)
        assert values.min() > 0.5 and values.max() < 1.3, values
        left, _, right = torch.linalg.svd(matrices, full_matrices=False)
        exact = left @ right
        likeness = (made * exact).sum(dim=(1, 2)) / (made.norm(dim=(1, 2)) * exact.norm(dim=(1, 2)))
        assert likeness.min() > 0.97


def test_all_but_wide_convolutions_follow_adam() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 3)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    muon = Muon([{"params": list(ours.parameters())}], 1e-2)
    adam = torch.optim.Adam(theirs.parameters(), 1e-2)
    for _ in range(4):
        x = torch.randn(2, 3, 12, 12)
        for net, optimizer in ((ours, muon), (theirs, adam)):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_wide_convolution_moves_by_the_rate() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 64, 3)
    before = conv.weight.detach().clone()
    muon = Muon([{"params": [conv.weight]}], 1e-3)
    conv.weight.grad = torch.randn_like(conv.weight)
    muon.step()
    moved = (conv.weight - before).square().mean().sqrt()
    # 64 orthonormal rows of 288 entries times 0.2 * sqrt(288): a root mean square of 0.2.
    assert 0.15e-3 < moved < 0.25e-3
