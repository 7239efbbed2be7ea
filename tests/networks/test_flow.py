import golden_data as golden
import pytest
import torch

from vqe_cli.networks.flow import SpyNet, compose_flow, flow_warp, resize_flow

WARPS = [
    "bilinear_zeros",
    "bilinear_zeros_far",
    "bilinear_border",
    "bilinear_border_far",
    "bilinear_reflection_far",
    "nearest_zeros",
    "nearest_border_far",
    "bilinear_zeros_noalign",
    "nearest_zeros_noalign",
    "bilinear_zeros_integer_flow",
    "bilinear_border_integer_flow_far",
    "one_row",
    "one_column",
    "features16",
]


@pytest.mark.parametrize("case", WARPS)
def test_flow_warp_equals_the_reference(case):
    told = golden.description("flow_warp")
    given, expected = (golden.case_tensors("flow_warp", part, case) for part in ("input", "output"))
    warped = flow_warp(given["x"], given["flow"].permute(0, 3, 1, 2), **told["config"][case])
    assert golden.difference(warped, expected["y"]) <= told["tolerance"]["max_abs"]


def test_flow_warp_keeps_positions_exact_in_bfloat16():
    x = torch.rand(1, 2, 300, 300)
    flow = torch.rand(1, 2, 300, 300) * 4 - 2
    exact = flow_warp(x, flow)
    assert golden.difference(flow_warp(x.bfloat16(), flow), exact) < 0.01  # two roundings of a value below 1


def test_flow_warp_refuses_another_size():
    with pytest.raises(ValueError, match=r"\(4, 4\).*\(5, 4\)"):
        flow_warp(torch.zeros(1, 1, 5, 4), torch.zeros(1, 2, 4, 4))


def test_composed_shifts_add_up():
    first = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 9, 9)
    second = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 9, 9)
    inner = compose_flow(first, second)[0, :, 2:, :-2]
    assert torch.allclose(inner, torch.tensor([3.0, -1.0]).view(2, 1, 1).expand_as(inner), atol=1e-5)


def test_resized_flow_points_to_the_same_place():
    flow = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 6, 8)
    assert torch.equal(resize_flow(flow, (12, 24))[0, :, 5, 5], torch.tensor([3.0, -4.0]))


@pytest.fixture(scope="module")
def spynet():
    net = SpyNet()
    net.load_state_dict(golden.weights(["weights_spynet"]), strict=True)
    return net.eval()


@pytest.mark.parametrize("case", ["64x64", "72x104", "70x93"])
@torch.inference_mode()
def test_spynet_equals_the_reference(spynet, case):
    given = golden.tensors("spynet", "input")
    ref, supp = (golden.picture(given[f"{case}.{name}_u8"]) for name in ("ref", "supp"))
    expected = golden.tensors("spynet", "output")[f"{case}.flow"]
    limit = golden.description("spynet")["tolerance"]["max_abs"]
    assert golden.difference(spynet(ref, supp), expected) <= limit


@torch.inference_mode()
def test_spynet_inner_flow_equals_the_reference(spynet):
    given = golden.tensors("spynet", "input")
    ref, supp = (golden.picture(given[f"64x64.{name}_u8"]) for name in ("ref", "supp"))
    expected = golden.tensors("spynet", "output")["compute_flow_64x64.flow"]
    limit = golden.description("spynet")["tolerance"]["max_abs"]
    assert golden.difference(spynet.compute_flow(ref, supp), expected) <= limit


@torch.inference_mode()
def test_clip_flows_are_the_flows_of_the_pairs(spynet):
    given = golden.tensors("spynet", "input")
    clip = torch.stack([golden.picture(given[f"64x64.{name}_u8"]) for name in ("ref", "supp", "ref")], dim=1)
    forward, backward = spynet.clip_flows(clip)
    assert torch.allclose(forward[:, 0], spynet(clip[:, 1], clip[:, 0]), atol=1e-4)
    assert torch.allclose(backward[:, 1], spynet(clip[:, 1], clip[:, 2]), atol=1e-4)
