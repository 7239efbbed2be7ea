"""CRDS: neighbourhood attention equals its definition, gradients are right, blocks start at the identity."""

import math

import pytest
import torch
from torch import Tensor

from vqe_cli import networks
from vqe_cli.networks.crds import CRDS
from vqe_cli.networks.flow import flow_warp
from vqe_cli.networks.muna import MuNA, NeighbourhoodAttention, Reference, window_side

SMALL = {
    "channels": 8, "steps": 2, "encoder_blocks": 1, "decoder_blocks": 1, "propagation_blocks": 1, "heads": 2,
}  # fmt: skip


def by_definition(net: NeighbourhoodAttention, x: Tensor, reference: Reference) -> Tensor:
    """Equations 18 to 23, position by position and candidate by candidate."""
    moved, inside = reference.features, torch.ones_like(x[:, :1])
    query, key, value = net.query(x), net.key(moved), net.value(moved)
    if reference.flow is not None:
        key, value = flow_warp(key, reference.flow), flow_warp(value, reference.flow)
        inside = flow_warp(inside, reference.flow)
    count, channels, height, width = x.shape
    size, far = channels // net.heads, net.side // 2
    out = torch.zeros_like(x)
    for n in range(count):
        for head in range(net.heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(height):
                for j in range(width):
                    scores, values = [], []
                    for number in range(net.side**2):
                        a, b = i + number // net.side - far, j + number % net.side - far
                        if not (0 <= a < height and 0 <= b < width) or inside[n, 0, a, b] <= 0.5:
                            continue
                        if reference.flow is None and (a, b) == (i, j):
                            continue
                        product = (query[n, part, i, j] * key[n, part, a, b]).sum() / math.sqrt(size)
                        scores.append(product + net.bias[head, number])
                        values.append(value[n, part, a, b])
                    if scores:
                        weights = torch.stack(scores).softmax(0)
                        out[n, part, i, j] = (weights[:, None] * torch.stack(values)).sum(0)
    return out


def random_attention(candidates: int) -> NeighbourhoodAttention:
    torch.manual_seed(3)
    net = NeighbourhoodAttention(4, candidates, heads=2).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


@pytest.mark.parametrize("candidates", [1, 9, 25])
@pytest.mark.parametrize("moving", [False, True])
def test_attention_is_what_the_paper_defines(candidates: int, moving: bool) -> None:
    net = random_attention(candidates)
    x, other = torch.rand(2, 2, 4, 4, 5, dtype=torch.float64)
    flow = torch.randn(2, 2, 4, 5, dtype=torch.float64) * 1.5 if moving else None
    reference = Reference(other, flow)
    assert torch.allclose(net(x, reference), by_definition(net, x, reference), atol=1e-12)


def test_a_window_larger_than_the_picture(candidates: int = 49) -> None:
    net = random_attention(candidates)
    x, other = torch.rand(2, 1, 4, 2, 3, dtype=torch.float64)
    reference = Reference(other, torch.zeros(1, 2, 2, 3, dtype=torch.float64))
    assert torch.allclose(net(x, reference), by_definition(net, x, reference), atol=1e-12)


def test_a_frame_cannot_copy_itself() -> None:
    """The centre of the own window is masked: a single changed position does not reach its own prediction."""
    net = random_attention(9)
    torch.nn.init.zeros_(net.query.weight)
    x = torch.rand(1, 4, 5, 5, dtype=torch.float64)
    changed = x.clone()
    changed[..., 2, 2] += 1
    before, after = net(x, Reference(x, None)), net(changed, Reference(changed, None))
    assert torch.equal(before[..., 2, 2], after[..., 2, 2])
    assert not torch.equal(before[..., 2, 3], after[..., 2, 3])


def test_gradients() -> None:
    net = random_attention(9)
    x, other = torch.rand(2, 1, 4, 3, 4, dtype=torch.float64)
    # Between grid points, where bilinear sampling is smooth; one row flows out of the picture.
    flow = torch.rand(1, 2, 3, 4, dtype=torch.float64) * 0.3 + 0.1
    flow[:, :, 0] += 20
    flow.requires_grad_(), x.requires_grad_(), other.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b, f: net(a, Reference(b, f)), (x, other, flow))


@pytest.mark.parametrize("candidates", [0, -9, 4, 8, 16, 10])
def test_candidates_that_make_no_window(candidates: int) -> None:
    with pytest.raises(ValueError, match="odd number"):
        window_side(candidates)


def test_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="heads is 3"):
        MuNA(8, 3, 9, heads=3)


def test_fused_predictions_start_as_their_mean() -> None:
    torch.manual_seed(0)
    net = MuNA(8, 2, candidates=1, heads=2)
    torch.nn.init.zeros_(net.refine.conv2.weight)
    one, two, x = torch.rand(3, 1, 8, 5, 6)
    still = torch.zeros(1, 2, 5, 6)
    fused = net(x, [Reference(one, still), Reference(two, still)])
    assert torch.allclose(fused, (one + two) / 2, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_fresh_network_adds_nothing(scale: int) -> None:
    net = networks.build("crds", SMALL | {"scale": scale, "feature_stride": 2 if scale == 1 else 1})
    clip = torch.rand(1, 3, 3, 12, 10)
    plain = torch.nn.functional.interpolate(clip[0], scale_factor=scale, mode="bicubic", align_corners=False)
    assert torch.allclose(net(clip)[0], plain if scale > 1 else clip[0], atol=1e-6)


def test_levels_of_latents_for_supervision() -> None:
    net = networks.build("crds", SMALL)
    assert isinstance(net, CRDS)
    clip = torch.rand(2, 4, 3, 16, 12)
    levels = net.latents(clip)
    assert len(levels) == 3 and all(len(level) == 4 for level in levels)
    assert levels[0][0].shape == (2, 8, 8, 6)
    assert torch.equal(net.decoded(clip, levels[0], levels[-1]), net(clip))


def trained(config: dict[str, object]) -> CRDS:
    """A network in which every weight counts."""
    torch.manual_seed(1)
    net = networks.build("crds", SMALL | config)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    assert isinstance(net, CRDS)
    return net.eval()


@torch.inference_mode()
def test_neighbours_of_both_sides_count_and_far_ones_travel() -> None:
    """The first block carries residuals back, the second forth: all frames of a clip reach the middle one."""
    net = trained({})
    clip = torch.rand(1, 7, 3, 16, 12)
    middle = net(clip)[:, 3]
    for index in (0, 2, 4, 6):
        other = clip.clone()
        other[:, index] = torch.rand(3, 16, 12)
        assert not torch.equal(net(other)[:, 3], middle), index


@torch.inference_mode()
def test_peaks_count_only_as_fourth_reference() -> None:
    clip, pqf = torch.rand(1, 6, 3, 16, 12), torch.tensor([[1, 0, 0, 0, 0, 1]]).bool()
    plain, peaks = trained({}), trained({"peaks": True})
    assert torch.equal(plain(clip, pqf), plain(clip))
    assert not torch.equal(peaks(clip, pqf), peaks(clip))


@torch.inference_mode()
def test_kept_frames_are_those_of_the_whole() -> None:
    net = trained({"peaks": True})
    clip, pqf = torch.rand(1, 5, 3, 16, 12), torch.tensor([[1, 0, 0, 1, 0]]).bool()
    assert torch.equal(net(clip, pqf, None, slice(1, -1)), net(clip, pqf)[:, 1:-1])


@pytest.mark.parametrize(
    "wrong", [{"scale": 3}, {"steps": 0}, {"feature_stride": 3}, {"candidates": 8}, {"heads": 3}]
)
def test_settings_that_no_network_has(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        networks.build("crds", SMALL | wrong)
