import golden_data as golden
import pytest
import torch
import torch.nn.functional as F

import vqe_cli.networks.deform
from vqe_cli.networks.deform import SecondOrderDeformableAlignment, modulated_deform_conv2d

CASES = [
    "dg4",
    "dg16",
    "dg16_stride2",
    "dg16_dil2",
    "dg4_stride2_dil2",
    "dg1_groups2_nobias",
    "far",
    "integer",
]


def convolve(case: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Our output of a golden case and the expected one."""
    config = golden.description("deform_conv")["config"][case]
    given, weights, expected = (
        golden.case_tensors("deform_conv", part, case) for part in ("input", "weights", "output")
    )
    settings = {key: config[key] for key in ("stride", "padding", "dilation", "groups", "deform_groups")}
    offset, mask = given["offset"].float(), given["mask"].float()
    ours = modulated_deform_conv2d(
        given["x"], offset, mask, weights["weight"], weights.get("bias"), **settings
    )
    return ours, expected["y"]


@pytest.mark.parametrize("case", CASES)
def test_deform_conv_equals_the_reference(case):
    assert golden.difference(*convolve(case)) <= golden.description("deform_conv")["tolerance"]["max_abs"]


def test_bands_change_nothing(monkeypatch):
    monkeypatch.setitem(vqe_cli.networks.deform.BAND_NUMBERS, "cpu", 16 * 9 * 50)
    with torch.inference_mode():
        ours, expected = convolve("far")
    assert golden.difference(ours, expected) <= golden.description("deform_conv")["tolerance"]["max_abs"]


def test_without_offsets_it_is_a_convolution():
    x, weight = torch.rand(2, 8, 1, 7), torch.rand(4, 8, 3, 3)
    ours = modulated_deform_conv2d(
        x, torch.zeros(2, 36, 1, 7), torch.ones(2, 18, 1, 7), weight, padding=1, deform_groups=2
    )
    assert torch.allclose(ours, F.conv2d(x, weight, padding=1), atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(1)
    shapes = [(1, 4, 3, 4), (1, 36, 3, 4), (1, 18, 3, 4), (2, 4, 3, 3), (2,)]
    inputs = [
        torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes
    ]

    def convolve(x, offset, mask, weight, bias):
        return modulated_deform_conv2d(x, offset, mask, weight, bias, padding=1, deform_groups=2)

    assert torch.autograd.gradcheck(convolve, inputs)


def alignment() -> SecondOrderDeformableAlignment:
    net = SecondOrderDeformableAlignment(32, 16, deform_groups=16, max_residue_magnitude=10)
    net.load_state_dict(golden.weights(["second_order_alignment"]), strict=True)
    return net.eval()


@torch.inference_mode()
def test_alignment_equals_the_reference():
    given = golden.tensors("second_order_alignment", "input")
    expected = golden.tensors("second_order_alignment", "output")["y"]
    ours = alignment()(given["x"], given["extra_feat"], given["flow_1"], given["flow_2"])
    limit = golden.description("second_order_alignment")["tolerance"]["max_abs"]
    assert golden.difference(ours, expected) <= limit


@torch.inference_mode()
def test_alignment_bears_bfloat16():
    given = golden.tensors("second_order_alignment", "input")
    expected = golden.tensors("second_order_alignment", "output")["y"]
    with torch.autocast("cpu", torch.bfloat16):
        ours = alignment()(given["x"], given["extra_feat"], given["flow_1"], given["flow_2"])
    assert ours.dtype == torch.bfloat16
    # The offset network's own rounding moves samples by up to 10 px * 2^-8; measured 0.06.
    assert golden.difference(ours, expected) < 0.05 * expected.abs().max()


def test_deform_groups_must_fit():
    with pytest.raises(ValueError, match="divide 32, not 12"):
        SecondOrderDeformableAlignment(32, 16, deform_groups=12)
