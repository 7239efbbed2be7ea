"""The same tests for every architecture: it builds, takes any size, keeps a batch apart, bears bfloat16."""

import golden_data as golden
import pytest
import torch
from torch import Tensor

from vqe_cli import networks

SPATIAL = {"channels": 16, "blocks": 3, "unshuffle": 2}
VIDEO = {"mid_channels": 16, "num_blocks": 1, "reconstruction_blocks": 1}
NETWORKS = {
    "qecnn x1": ("qecnn", SPATIAL),
    "qecnn x2": ("qecnn", SPATIAL | {"scale": 2}),
    "swinir x1": (
        "swinir",
        {
            "embed_dim": 12,
            "depths": [2, 2],
            "num_heads": [2, 3],
            "window_size": 4,
            "mlp_ratio": 2,
            "qp_conditioning": True,
        },
    ),
    "swinir x2": (
        "swinir",
        {
            "embed_dim": 12,
            "depths": [2],
            "num_heads": [2],
            "window_size": 8,
            "upscale": 2,
            "upsampler": "pixelshuffledirect",
        },
    ),
    "basicvsrpp x1": ("basicvsrpp", VIDEO | {"is_low_res_input": False, "qp_conditioning": True}),
    "basicvsrpp x1 stride 2": ("basicvsrpp", VIDEO | {"is_low_res_input": False, "feature_stride": 2}),
    "basicvsrpp x1 stride 1": ("basicvsrpp", VIDEO | {"is_low_res_input": False, "feature_stride": 1}),
    "basicvsrpp x4 groups": ("basicvsr_plusplus", VIDEO | {"reconstruction_blocks": [1, 2]}),
    "pqf_basicvsrpp x2": (
        "pqf_basicvsrpp",
        VIDEO | {"scale": 2, "prop_channels": 8, "deform_groups": 4, "qp_conditioning": True},
    ),
    "motion_fusion x1": ("motion_fusion", {"spatial": SPATIAL, "blocks": 1, "channels": 16}),
    "motion_fusion x2": ("motion_fusion", {"spatial": SPATIAL | {"scale": 2}, "blocks": 1, "channels": 24}),
    "motion_fusion blend": ("motion_fusion", {"spatial": SPATIAL, "blocks": 0}),
}
NETWORKS |= {
    "motion_fusion muna": ("motion_fusion", {"spatial": SPATIAL, "blocks": 0, "alignment": "muna"}),
    "pqf_basicvsrpp muna": ("pqf_basicvsrpp", VIDEO | {"is_low_res_input": False, "alignment": "muna"}),
    "basicvsrpp warp x2": ("basicvsrpp", VIDEO | {"scale": 2, "alignment": "warp"}),
}
CRDS = {"channels": 8, "steps": 2, "encoder_blocks": 1, "propagation_blocks": 1, "heads": 2}
NETWORKS |= {
    "crds x1": ("crds", CRDS | {"qp_conditioning": True}),
    "crds x2 peaks": ("crds", CRDS | {"scale": 2, "feature_stride": 1, "flow_stride": 2, "peaks": True}),
    "crds x4": ("crds", CRDS | {"scale": 4, "feature_stride": 1, "candidates": 25}),
}
QP = [37.0, float("nan"), 22.0]


def network(name: str) -> torch.nn.Module:
    """The network with every weight random, those that start at zero as well."""
    torch.manual_seed(5)
    arch, config = NETWORKS[name]
    net = networks.build(arch, config).eval()
    for key, parameter in net.named_parameters():
        if not parameter.any() and not key.startswith("spynet"):
            torch.nn.init.normal_(parameter, std=0.02)
    return net


def shapes(count: int, frames: int, height: int, width: int, net: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """A random batch for a video or an image net, and QPs for it (known and unknown)."""
    generator = torch.Generator().manual_seed(7)
    outer = (count, frames) if net.is_video else (count * frames,)
    qp = torch.tensor([QP[index % 3] for index in range(count * frames)]).reshape(outer)
    return torch.rand(*outer, 3, height, width, generator=generator), qp


def apply(net: torch.nn.Module, x: Tensor, qp: Tensor | None, pqf: Tensor | None = None) -> Tensor:
    return net(x, pqf, qp) if net.is_video else net(x, qp)


@pytest.fixture(params=NETWORKS)
def net(request):
    return network(request.param)


@torch.inference_mode()
def test_builds_with_its_facts(net):
    assert net.scale in (1, 2, 4) and net.multiple >= 1 and isinstance(net.is_video, bool)
    x, qp = shapes(1, 1, 16, 16, net)
    # The QP counts where the network is told it, and nothing else of the call does.
    told = any("embed.expand" in key for key in net.state_dict())
    assert torch.equal(apply(net, x, qp), apply(net, x, None)) != told


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 16), (2, 33, 18), (3, 5, 7), (1, 1, 1)])
@torch.inference_mode()
def test_takes_any_size(net, frames, height, width):
    x, qp = shapes(1, frames, height, width, net)
    out = apply(net, x, qp)
    assert out.shape == (*x.shape[:-2], net.scale * height, net.scale * width)
    assert out.isfinite().all()


@torch.inference_mode()
def test_clips_of_a_batch_do_not_see_each_other(net):
    x, qp = shapes(2, 5, 24, 20, net)
    if not net.is_video:
        assert torch.allclose(apply(net, x, qp)[3:4], apply(net, x[3:4], qp[3:4]), atol=1e-5)
        return
    pqf = torch.tensor([[1, 0, 0, 0, 1], [0, 0, 1, 0, 0]]).bool()
    both = apply(net, x, qp, pqf)
    for clip in (0, 1):
        one = slice(clip, clip + 1)
        assert torch.allclose(both[one], apply(net, x[one], qp[one], pqf[one]), atol=1e-4)


def test_bfloat16_is_close_and_has_gradients(net):
    x, qp = shapes(1, 3, 24, 20, net)
    with torch.autocast("cpu", torch.bfloat16):
        out = apply(net, x, qp)
    exact = apply(net, x, qp)
    change = (exact - exact.mean()).std()
    assert (out.float() - exact).abs().max() < 0.1 * change
    out.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "basicvsrpp" in name or "fusion" in name])
def test_frames_without_gradients_equal_all_at_once(name):
    net = network(name)
    x, qp = shapes(2, 4, 24, 20, net)
    at_once = net(x, None, qp)
    with torch.inference_mode():
        assert torch.allclose(net(x, None, qp), at_once, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "basicvsrpp" in name or "fusion" in name])
@pytest.mark.parametrize("gradients", [False, True])
def test_frames_that_are_kept_are_those_of_the_whole(name, gradients):
    net = network(name)
    x, qp = shapes(2, 5, 24, 20, net)
    pqf = torch.tensor([[1, 0, 0, 0, 1], [0, 0, 1, 0, 0]]).bool()
    with torch.set_grad_enabled(gradients):
        assert torch.equal(net(x, pqf, qp, slice(1, -2)), net(x, pqf, qp)[:, 1:-2])


@torch.inference_mode()
def test_without_peaks_it_is_basicvsrpp_exactly():
    plain = network("basicvsrpp x1")
    pqf = networks.build("pqf_basicvsrpp", NETWORKS["basicvsrpp x1"][1]).eval()
    pqf.load_state_dict(plain.state_dict(), strict=True)
    x, qp = shapes(1, 5, 24, 20, plain)
    peaks = torch.tensor([[1, 0, 0, 0, 1]]).bool()
    assert torch.equal(pqf(x, None, qp), plain(x, None, qp))
    assert torch.equal(pqf(x, torch.zeros_like(peaks), qp), plain(x, peaks, qp))
    assert not torch.allclose(pqf(x, peaks, qp), plain(x, peaks, qp), atol=1e-5)


COUNTS = [
    ("spynet", {}, ("basicvsrpp_c64n7_x4", "spynet")),
    ("basicvsrpp", {"mid_channels": 64, "num_blocks": 7}, ("basicvsrpp_c64n7_x4", "total")),
    ("basicvsrpp", {"mid_channels": 128, "num_blocks": 25}, ("basicvsrpp_c128n25_x4_rec5", "total")),
    *(
        (
            "pqf_basicvsrpp",
            {
                "mid_channels": 128,
                "num_blocks": 25,
                "is_low_res_input": False,
                "reconstruction_blocks": blocks,
            },
            (f"basicvsrpp_c128n25_x1_rec{blocks}", "total"),
        )
        for blocks in (5, 15, 25, 35, 45, 55)
    ),
]
CLASSICAL = {"embed_dim": 180, "depths": [6] * 6, "num_heads": [6] * 6, "window_size": 8, "mlp_ratio": 2}
LIGHT = {"embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4, "window_size": 8, "mlp_ratio": 2}
LARGE = {"embed_dim": 240, "depths": [6] * 9, "num_heads": [8] * 9, "window_size": 8, "mlp_ratio": 2}
SWINIR_COUNTS = {
    "swinir_color_dn": CLASSICAL,
    "swinir_color_jpeg_car": CLASSICAL | {"window_size": 7},
    "swinir_classical_x2": CLASSICAL | {"upscale": 2, "upsampler": "pixelshuffle"},
    "swinir_classical_x4": CLASSICAL | {"upscale": 4, "upsampler": "pixelshuffle"},
    "swinir_light_x2": LIGHT | {"upscale": 2, "upsampler": "pixelshuffledirect"},
    "swinir_light_x4": LIGHT | {"upscale": 4, "upsampler": "pixelshuffledirect"},
    "swinir_real_x4_medium": CLASSICAL | {"upscale": 4, "upsampler": "nearest+conv"},
    "swinir_real_x4_large": LARGE | {"upscale": 4, "upsampler": "nearest+conv", "resi_connection": "3conv"},
}


def parameter_count(arch: str, config: dict) -> int:
    with torch.device("meta"):
        net = networks.build(arch, config)
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("arch", "config", "place"), COUNTS)
def test_basicvsrpp_has_the_parameters_of_the_paper(arch, config, place):
    expected = golden.description("parameter_counts")["counts"][place[0]][place[1]]
    assert parameter_count(arch, config) == expected


@pytest.mark.parametrize("name", SWINIR_COUNTS)
def test_swinir_has_the_parameters_of_the_reference(name):
    assert (
        parameter_count("swinir", SWINIR_COUNTS[name])
        == golden.description("parameter_counts")["counts"][name]
    )


def test_each_further_group_of_ten_is_the_step_of_the_paper():
    base = {"mid_channels": 128, "num_blocks": 25, "is_low_res_input": False}
    counts = [
        parameter_count("basicvsrpp", base | {"reconstruction_blocks": groups})
        for groups in (5, [5], [5, 10], [5, 10, 10])
    ]
    assert counts == [44_075_631, 44_075_631, 44_075_631 + 3_099_264, 44_075_631 + 2 * 3_099_264]


@pytest.mark.parametrize(
    ("arch", "config", "message"),
    [
        ("basicvsrp", {}, "did you mean 'basicvsrpp'"),
        ("basicvsrpp", {"mid_chanels": 64}, "'mid_chanels'; did you mean 'mid_channels'"),
        ("basicvsrpp", {"zzz": 1}, "'zzz'; known are"),
        ("basicvsrpp", {"is_low_res_input": False, "scale": 2}, "scale 2"),
        ("basicvsrpp", {"feature_stride": 2}, "feature_stride 2"),
        ("motion_fusion", {"spatial": SPATIAL, "block": 1}, "'block'; did you mean 'blocks'"),
        ("pqf_basicvsrpp", {"deform_groups": 12}, "not 12"),
    ],
)
def test_build_says_what_is_wrong(arch, config, message):
    with pytest.raises(ValueError, match=message):
        networks.build(arch, config)


def test_build_takes_arguments_of_the_reference_that_change_nothing():
    net = networks.build("basicvsrpp", VIDEO | {"spynet_pretrained": None, "cpu_cache_length": 100})
    assert net.scale == 4


@pytest.mark.parametrize("config", [SPATIAL, SPATIAL | {"scale": 2}, SPATIAL | {"qp_conditioning": False}])
@torch.inference_mode()
def test_folded_weights_compute_the_same(config):
    """The QP folded into convolutions; pictures of one call may have different ones."""
    torch.manual_seed(2)
    net = networks.build("qecnn", config).double().eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folded = net.for_inference()
    assert (folded.scale, folded.multiple, folded.is_video) == (net.scale, net.multiple, net.is_video)
    x = torch.rand(5, 3, 9, 14, dtype=torch.float64)
    for qp in (None, torch.tensor([37.0] * 5), torch.tensor([37.0, float("nan"), 22.0, 37.0, float("nan")])):
        assert torch.allclose(folded(x, qp), net(x, qp), atol=1e-7)
