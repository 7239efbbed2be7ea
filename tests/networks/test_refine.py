"""Motion by least squares on pictures."""

import pytest
import torch

from vqe_cli.networks.flow import flow_warp
from vqe_cli.networks.refine import least_squares_flow


def picture(height: int, width: int, seed: int = 1) -> torch.Tensor:
    """Texture (1, 3, H, W) with detail at several sizes."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        torch.nn.functional.interpolate(
            torch.rand(1, 3, -(-height // step), -(-width // step), generator=generator),
            size=(height, width),
            mode="bicubic",
        )
        for step in (3, 6, 12, 24, 48)
    ]
    return 0.5 + 3 * (torch.stack(layers).mean(dim=0) - 0.5)


@pytest.mark.parametrize("motion", [(0.0, 0.0), (0.4, -0.3), (-3.5, 2.25), (9.0, -6.5), (24.0, 10.0)])
def test_finds_a_motion_that_nothing_told_it(motion: tuple[float, float]) -> None:
    other = picture(96, 128)
    true = torch.tensor(motion).view(1, 2, 1, 1).expand(1, 2, 96, 128)
    found = least_squares_flow(flow_warp(other, true), other)
    inside = (found - true)[..., 16:-16, 16:-16].norm(dim=1)
    assert inside.median() < 0.1


def test_two_motions_in_one_picture() -> None:
    """A still half beside one that moves by 4 pixels; only near the border between them may it be wrong."""
    other = picture(96, 160)
    true = torch.zeros(1, 2, 96, 160)
    true[:, 0, :, 80:] = 4
    found = least_squares_flow(flow_warp(other, true), other)
    assert (found - true)[..., 12:-12, 12:68].norm(dim=1).mean() < 0.1
    assert (found - true)[..., 12:-12, 92:-16].norm(dim=1).mean() < 0.2


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 40), (33, 31)])
def test_any_size_and_still_pictures_do_not_move(size: tuple[int, int]) -> None:
    still = picture(*size)
    found = least_squares_flow(still, still)
    assert found.shape == (1, 2, *size)
    assert found.abs().max() < 1e-3


def test_pairs_of_a_batch_do_not_see_each_other() -> None:
    ones, others = torch.cat([picture(40, 48), picture(40, 48, 2)]), torch.cat([picture(40, 48, 3)] * 2)
    both = least_squares_flow(ones, others)
    second = least_squares_flow(ones[1:], others[1:])
    assert torch.allclose(both[1:], second, atol=1e-5)
