"""MotionFusion: what is carried where, and that nothing is added untrained."""

import pytest
import torch
from torch import Tensor

from vqe_cli import networks
from vqe_cli.networks.flow import flow_warp
from vqe_cli.networks.motion_fusion import FOLD, MotionFusion, carry, fold, trusted

SPATIAL = {"channels": 16, "blocks": 3, "unshuffle": 2}


def planes(shades: list[float], qps: list[float], size: int = 32) -> list[Tensor]:
    """Flat pictures (1, 4, size, size) of these shades, with their QPs as fourth planes."""
    return [
        torch.tensor([shade, shade, shade, qp / 51]).view(1, 4, 1, 1).expand(1, 4, size, size)
        for shade, qp in zip(shades, qps, strict=True)
    ]


@torch.inference_mode()
@pytest.mark.parametrize("scale", [1, 2])
def test_untrained_it_is_its_single_frame_network(scale: int) -> None:
    torch.manual_seed(5)
    single = networks.build("qecnn", {**SPATIAL, "scale": scale}).eval()
    torch.nn.init.normal_(single.tail.weight, std=0.02)
    fusion = networks.build("motion_fusion", {"spatial": {**SPATIAL, "scale": scale}, "blocks": 1}).eval()
    fusion.spatial.load_state_dict(single.state_dict())
    clip, qp = torch.rand(2, 3, 3, 27, 22), torch.tensor([[37.0, torch.nan, 22.0]] * 2)
    alone = single(clip.flatten(0, 1), qp.flatten()).unflatten(0, (2, 3))
    assert torch.allclose(fusion(clip, None, qp), alone, atol=1e-6)


@torch.inference_mode()
def test_what_is_carried_without_motion() -> None:
    """By hand: running means of halves, the previous frame, and the peak where it is two or more before."""
    shades, qps = [0.2, 0.6, 0.9, 0.4], [22.0, 37.0, 32.0, 42.0]
    peaks = torch.tensor([[True, False, False, False]])
    brought = carry(planes(shades, qps), torch.zeros(1, 3, 2, 32, 32), peaks)
    found = torch.stack(
        [frame[0, :, :, [0, 3], 16, 16] for frame in brought]
    )  # (T, kind, route, shade and QP)
    levels = [qp / 51 for qp in qps]
    for value, (first, second, third, _) in ((0, shades), (1, levels)):
        means = [first, (first + second) / 2, first / 4 + second / 4 + third / 2]
        assert found[:3, 0, 0, value].tolist() == pytest.approx(means, abs=1e-6)
        assert found[:, 1, 0, value].tolist() == pytest.approx([first, first, second, third], abs=1e-6)
        assert found[:, 1, 1, value].tolist() == pytest.approx([first] * 4, abs=1e-6)


@torch.inference_mode()
def test_what_is_carried_lies_where_the_frame_shows_it() -> None:
    """A picture moves by whole pixels: all that is brought to a frame equals it, far from borders."""
    wide = torch.rand(1, 4, 48, 64, generator=torch.Generator().manual_seed(1))
    pictures = [wide[..., 4 + t : 36 + t, 2 + 2 * t : 42 + 2 * t] for t in range(5)]
    flows = torch.tensor([2.0, 1.0]).view(1, 1, 2, 1, 1).expand(1, 4, 2, 32, 40)
    moved = flow_warp(pictures[0], flows[:, 0])
    assert torch.allclose(moved[..., :-1, :-2], pictures[1][..., :-1, :-2], atol=1e-5)
    for peaks in ([0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]):
        brought = carry(pictures, flows, torch.tensor([peaks]).bool())
        for picture, found in zip(pictures, brought, strict=True):
            inside = (found - picture[:, None, None])[..., :-4, :-8]
            assert inside.abs().max() < 1e-4


@torch.inference_mode()
def test_differences_count_less_where_motion_is_wrong() -> None:
    """Small ones that opposite directions agree on pass nearly whole, large and contradictory ones hardly."""
    picture = torch.full((1, 3, 16, 16), 0.5)
    carried = picture[:, None].repeat(1, 8, 1, 1, 1)
    carried[:, 0:2] += 0.001
    carried[:, 2] += 0.2
    shares = trusted(carried, picture)[0, :, 0, 8, 8].view(5, 8)
    assert (shares[:, 0:2] > 0.0009).all()
    assert (shares[:, 2].abs() < 0.2 * 0.1).all()


@torch.inference_mode()
def test_motion_in_pixels_of_the_output() -> None:
    net = MotionFusion({**SPATIAL, "scale": 2}, blocks=0)
    texture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 16, 20, generator=torch.Generator().manual_seed(2)), scale_factor=4, mode="bicubic"
    )
    clip = torch.stack([texture[..., 2:58, 4 + 2 * t : 68 + 2 * t] for t in range(3)], dim=1)
    to_previous, to_next = map(net.enlarged, net.motion(clip))
    assert to_previous.shape == to_next.shape == (1, 2, 2, 112, 128)
    for flow, across in ((to_previous, 4.0), (to_next, -4.0)):
        inside = flow[0, :, :, 32:-32, 32:-32]
        assert inside[:, 0].median() == pytest.approx(across, abs=0.1)
        assert inside[:, 1].median() == pytest.approx(0, abs=0.1)


def test_planes_are_folded_as_pixel_unshuffle_folds_them() -> None:
    x = torch.rand(2, 3, 6, 8)
    folded = fold(x).flatten(3).permute(0, 3, 1, 2)
    assert torch.equal(folded, torch.nn.functional.pixel_unshuffle(x, FOLD))
