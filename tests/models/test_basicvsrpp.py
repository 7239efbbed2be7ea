import golden_data as golden
import pytest
import torch
from torch import Tensor

import models
from models.basicvsrpp import grow_from_spatial
from models.flow import compose_flow
from models.propagation import BRANCHES, RecurrentCore, nearest_peak, plan_visits
from models.qecnn import QECNN

PUBLIC_CASES = [
    *("bvpp_x4_t1", "bvpp_x4_t2", "bvpp_x4_t2_same", "bvpp_x4_t3_n2", "bvpp_x4_t3_odd", "bvpp_x4_t5"),
    *("bvpp_x4_t5_rec15", "bvpp_x4_t6_mirror", "bvpp_x1_t1", "bvpp_x1_t2", "bvpp_x1_t3_260x268"),
    *("bvpp_x1_t3_rec15", "bvpp_x1_t6", "bvpp_x1_t6_mirror"),
]
SUB = {
    "bvpp": (slice(1, None, 7), slice(2, None, 9)),
    "pqf_basicvsrpp_x4_t9": (slice(1, None, 7), slice(2, None, 9)),
    "pqf_basicvsrpp_x1_t9": (slice(3, None, 11), slice(5, None, 13)),
}


def network(case: dict, arch: str = "basicvsrpp") -> RecurrentCore:
    """The network of a golden case with its weights."""
    net = models.build(arch, case["config"])
    net.load_state_dict(golden.weights(case["weights_from"]), strict=True)
    return net.eval()


def check_output(out: Tensor, expected: dict[str, Tensor], sub: tuple[slice, slice], limit: float) -> None:
    """Compare the samples that a golden file keeps of an output (N, T, 3, H, W)."""
    assert golden.difference(out[..., sub[0], sub[1]], expected["sub"]) <= limit
    assert golden.difference(out[..., :16, :16], expected["tl"]) <= limit
    assert golden.difference(out[..., -16:, -16:], expected["br"]) <= limit
    deviation, mean = torch.std_mean(out.double(), dim=(-2, -1))
    assert golden.difference(torch.stack([mean, deviation], dim=-1), expected["mean_std"]) <= limit


def check_inside(
    net: RecurrentCore, clip: Tensor, expected: dict[str, Tensor], limit: float, pqf: Tensor | None = None
) -> None:
    """Compare flows and every branch's features, so that a wrong output says where it goes wrong."""
    frames = clip.transpose(0, 1).flatten(0, 1)
    spatial = list(net.extract(frames, None).split(len(clip)))
    flows = net.flows(clip, spatial[0].shape[-2:])
    for name, flow in zip(("flows_forward", "flows_backward"), flows, strict=True):
        if name in expected:
            assert golden.difference(flow[..., ::2, ::2], expected[name]) <= limit, name
    for branch, features in zip(BRANCHES, net.propagate_all(spatial, clip, pqf), strict=True):
        inside = torch.stack(features, dim=1)[..., 28:34, 28:34]
        kept = expected[f"feat_{branch}"]
        frames_kept = [0, 3, 4, 8] if kept.shape[1] < inside.shape[1] else range(inside.shape[1])
        assert golden.difference(inside[:, list(frames_kept)], kept) <= limit, branch


@pytest.mark.parametrize("name", PUBLIC_CASES)
@torch.inference_mode()
def test_basicvsrpp_equals_the_reference(name):
    case = golden.description(name)
    net, clip, expected = network(case), golden.clip(case), golden.tensors(name, "output")
    limit = case["tolerance"]["max_abs"]
    # The features' rounding is the clip's own: the output's limit times their size.
    check_inside(net, clip, expected, 4 * limit)
    check_output(net(clip), expected, SUB["bvpp"], limit)


def mask(text: str) -> Tensor:
    return torch.tensor([[character == "1" for character in text]])


@pytest.mark.parametrize("name", ["pqf_basicvsrpp_x1_t9", "pqf_basicvsrpp_x4_t9"])
@pytest.mark.parametrize("peaks", ["100010001", "111111111", "100000000", "000000000", "010010010"])
@torch.inference_mode()
def test_pqf_equals_the_reference(name, peaks):
    case = golden.description(name)
    assert peaks in case["masks"]
    net, clip = network(case, "pqf_basicvsrpp").double(), golden.clip(case).double()
    expected = golden.tensors(name, f"output.{peaks}")
    limit = case["tolerance"]["max_abs_in_float64"]
    check_inside(net, clip, expected, limit, mask(peaks))
    check_output(net(clip, mask(peaks)), expected, SUB[name], limit)


@torch.inference_mode()
def test_pqf_takes_other_peaks_for_each_clip_of_a_batch():
    case = golden.description("pqf_basicvsrpp_x4_t9")
    net, clip = network(case, "pqf_basicvsrpp").double(), golden.clip(case).double()
    out = net(torch.cat([clip, clip.flip(-1)]), torch.cat([mask("100010001"), mask("010010010")]))
    expected = golden.tensors("pqf_basicvsrpp_x4_t9", "output.batch")["sub"]
    assert golden.difference(out[..., 1::5, 2::7], expected) <= case["tolerance"]["max_abs_in_float64"]
