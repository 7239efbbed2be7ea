import golden_data as golden
import pytest
import torch
from reference_kernel import sample_as_reference
from torch import Tensor

from vqe_cli import networks
from vqe_cli.networks import deform
from vqe_cli.networks.basicvsrpp import BRANCHES, BasicVSRPlusPlus

PUBLIC_CASES = [
    *("bvpp_x4_t1", "bvpp_x4_t2", "bvpp_x4_t2_same", "bvpp_x4_t3_n2", "bvpp_x4_t3_odd", "bvpp_x4_t5"),
    *("bvpp_x4_t5_rec15", "bvpp_x4_t6_mirror", "bvpp_x1_t1", "bvpp_x1_t2", "bvpp_x1_t3_260x268"),
    *("bvpp_x1_t3_rec15", "bvpp_x1_t6", "bvpp_x1_t6_mirror"),
]
PQF_CASES = ("pqf_basicvsrpp_x1_t9", "pqf_basicvsrpp_x4_t9")
PEAKS = ("100010001", "111111111", "100000000", "000000000", "010010010")
KEPT_FRAMES = [0, 3, 4, 8]  # whose features pqf_basicvsrpp_x1_t9 keeps
PUBLIC_SUB = (slice(1, None, 7), slice(2, None, 9))
PQF_SUB = {
    "pqf_basicvsrpp_x4_t9": PUBLIC_SUB,
    "pqf_basicvsrpp_x1_t9": (slice(3, None, 11), slice(5, None, 13)),
}


def network(case: dict, arch: str = "basicvsrpp") -> BasicVSRPlusPlus:
    """The network of a golden case with its weights."""
    net = networks.build(arch, case["config"])
    net.load_state_dict(golden.weights(case["weights_from"]), strict=True)
    return net.eval()


def run(net: BasicVSRPlusPlus, clip: Tensor, pqf: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """The output, and what was computed on the way: flows and features under their golden names."""
    inside: dict[str, Tensor] = {}
    flows, propagate_all = net.flows, net.propagate_all

    def watched_flows(*inputs):
        found = flows(*inputs)
        inside.update(zip(("flows_forward", "flows_backward"), found, strict=True))
        return found

    def watched_propagate_all(*inputs):
        found = propagate_all(*inputs)
        for branch, features in zip(BRANCHES, found, strict=True):
            inside[f"feat_{branch}"] = torch.stack(features, dim=1)
        return found

    net.flows, net.propagate_all = watched_flows, watched_propagate_all
    return net(clip, pqf), inside


def check_features(inside: dict[str, Tensor], expected: dict[str, Tensor], limit: float) -> None:
    """Compare the crops that a golden file keeps of every branch."""
    for branch in BRANCHES:
        crop, kept = inside[f"feat_{branch}"][..., 28:34, 28:34], expected[f"feat_{branch}"]
        crop = crop if crop.shape == kept.shape else crop[:, KEPT_FRAMES]
        assert golden.difference(crop, kept) <= limit, branch


def check_output(out: Tensor, expected: dict[str, Tensor], sub: tuple[slice, slice], limit: float) -> None:
    """Compare the samples that a golden file keeps of an output (N, T, 3, H, W)."""
    assert golden.difference(out[..., sub[0], sub[1]], expected["sub"]) <= limit
    assert golden.difference(out[..., :16, :16], expected["tl"]) <= limit
    assert golden.difference(out[..., -16:, -16:], expected["br"]) <= limit
    deviation, mean = torch.std_mean(out.double(), dim=(-2, -1))
    assert golden.difference(torch.stack([mean, deviation], dim=-1), expected["mean_std"]) <= limit


def mask(text: str) -> Tensor:
    return torch.tensor([[character == "1" for character in text]])


@torch.inference_mode()
def test_one_frame_equals_the_reference():
    case = golden.description("bvpp_x4_one_frame")
    net = networks.build("basicvsrpp", case["config"]).eval()
    missing, unexpected = net.load_state_dict(golden.weights(case["weights_from"]), strict=False)
    assert not unexpected and all(key.startswith(("spynet.", "deform_align.")) for key in missing)
    expected = golden.tensors("bvpp_x4_one_frame", "output")
    check_output(net(golden.clip(case)), expected, PUBLIC_SUB, case["tolerance"]["max_abs"])


@pytest.mark.parametrize("name", PUBLIC_CASES)
@torch.inference_mode()
def test_basicvsrpp_equals_the_reference(name):
    case, expected = golden.description(name), golden.tensors(name, "output")
    out, inside = run(network(case), golden.clip(case))
    limit = case["tolerance"]["max_abs"]
    for key in ("flows_forward", "flows_backward"):
        if key in expected:
            assert golden.difference(inside[key][..., ::2, ::2], expected[key]) <= limit, key
    check_features(inside, expected, limit)
    check_output(out, expected, PUBLIC_SUB, limit)


@pytest.mark.parametrize("peaks", ["100010001", "010010010"])
@torch.inference_mode()
def test_pqf_equals_the_reference_in_float32(peaks):
    name = "pqf_basicvsrpp_x1_t9"
    case, expected = golden.description(name), golden.tensors(name, f"output.{peaks}")
    out, inside = run(network(case, "pqf_basicvsrpp"), golden.clip(case), mask(peaks))
    limit = case["tolerance"]["max_abs_in_float32"]
    check_features(inside, expected, limit)
    check_output(out, expected, PQF_SUB[name], limit)


@pytest.mark.slow
@pytest.mark.parametrize("peaks", PEAKS)
@pytest.mark.parametrize("name", PQF_CASES)
@torch.inference_mode()
def test_pqf_equals_the_reference_in_float64(name, peaks, monkeypatch):
    monkeypatch.setattr(deform, "sample", sample_as_reference)
    case, expected = golden.description(name), golden.tensors(name, f"output.{peaks}")
    assert sorted(case["masks"]) == sorted(PEAKS)
    out, inside = run(network(case, "pqf_basicvsrpp").double(), golden.clip(case).double(), mask(peaks))
    limit = case["tolerance"]["max_abs_in_float64"]
    for key in ("flows_forward", "flows_backward"):
        assert golden.difference(inside[key], golden.tensors(name, "output")[key]) <= limit
    check_features(inside, expected, limit)
    check_output(out, expected, PQF_SUB[name], limit)


@pytest.mark.slow
@torch.inference_mode()
def test_pqf_takes_other_peaks_for_each_clip_of_a_batch(monkeypatch):
    monkeypatch.setattr(deform, "sample", sample_as_reference)
    case = golden.description("pqf_basicvsrpp_x4_t9")
    net, clip = network(case, "pqf_basicvsrpp").double(), golden.clip(case).double()
    out = net(torch.cat([clip, clip.flip(-1)]), torch.cat([mask("100010001"), mask("010010010")]))
    expected = golden.tensors("pqf_basicvsrpp_x4_t9", "output.batch")["sub"]
    assert golden.difference(out[..., 1::5, 2::7], expected) <= case["tolerance"]["max_abs_in_float64"]
