"""Automatic sizes follow the device model and the frame size alone, and keep the memory that they promise."""

from dataclasses import replace

import pytest
import torch

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.restore.choices import SizeChoice
from vqe_cli.restore.device import CPU_BUDGET, Compute, choose
from vqe_cli.restore.footprint import Footprint, measure
from vqe_cli.restore.sizes import RGB_BYTES, choose_sizes

CPU = Compute(torch.device("cpu"), "fp32", "CPU", CPU_BUDGET)
IMAGE = networks.build("qecnn", {"channels": 8, "blocks": 1})
VIDEO = networks.build("motion_fusion", {"spatial": {"channels": 8, "blocks": 2}})
SIZES = {"180p": (180, 320), "1080p": (1080, 1920), "4k": (2160, 3840), "8k": (4320, 7680)}


def sizes_for(size: str, network, footprint: Footprint, budget: int = CPU_BUDGET, defaults=None, **chosen):
    compute, tta = replace(CPU, budget=budget), chosen.pop("tta", 1)
    choice = SizeChoice(**chosen)
    return choose_sizes([(network, footprint)], choice, tta, defaults or {}, compute, SIZES[size])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["image", "video"])
def test_what_is_chosen_fits_the_budget(size: str, kind: str) -> None:
    network = VIDEO if kind == "video" else IMAGE
    footprint = Footprint(1500.0, 110.0) if kind == "video" else Footprint(0.0, 400.0)
    found = sizes_for(size, network, footprint)
    (tiling,) = found.tilings
    height, width = SIZES[size]
    tall, wide = (max(b - a for a, b in tiling.spans(length)) for length in (height, width))
    frames = found.chunks.window if kind == "video" else 1
    held = RGB_BYTES * height * width * (found.chunks.window + found.chunks.chunk)
    needed = footprint.bytes(tall * wide, frames) + held
    # A video network's context alone can take more than a CPU's half; 8k is then beyond it.
    if size != "8k" or kind == "image":
        assert needed <= CPU_BUDGET * (1.25 if size == "4k" and kind == "video" else 1)
    assert (tiling.tile == 0) == (needed - held <= CPU_BUDGET and (tall, wide) == (height, width))


def test_larger_devices_need_no_tiles() -> None:
    footprint = Footprint(1500.0, 110.0)
    assert sizes_for("1080p", VIDEO, footprint).tilings[0].tile > 0
    assert sizes_for("1080p", VIDEO, footprint, budget=80 * 2**30).tilings[0].tile == 0


def test_order_of_precedence() -> None:
    """The user's size, else the pipeline's, else ours."""
    footprint, defaults = Footprint(0.0, 1.0), {"chunk": 12, "overlap": 5}
    assert sizes_for("180p", VIDEO, footprint, defaults=defaults).chunks.window == 22
    chosen = sizes_for("180p", VIDEO, footprint, defaults=defaults, chunk=3, overlap=0, peak_period=6).chunks
    assert (chosen.chunk, chosen.overlap, chosen.period) == (3, 0, 6)
    (tiling,) = sizes_for("180p", VIDEO, footprint, tile=96).tilings
    assert tiling.overlap == 32  # a third of a tile at most
    (tiling,) = sizes_for("180p", VIDEO, footprint, tile=96, tile_overlap=20).tilings
    assert tiling.overlap == 20


def test_single_frame_networks_need_no_context() -> None:
    found = sizes_for("180p", IMAGE, Footprint(0.0, 1.0), defaults={"overlap": 5}).chunks
    assert (found.overlap, found.period) == (0, 0)


def test_contradiction() -> None:
    with pytest.raises(VqeError, match="--tile 64 is too small for --tile-overlap 32"):
        sizes_for("180p", IMAGE, Footprint(0.0, 1.0), tile=64, tile_overlap=32)


def test_footprint_of_known_networks() -> None:
    """A convolution holds input, output and nothing else; recurrence adds with every frame."""

    class Wide(torch.nn.Conv2d):
        is_video, scale, multiple = False, 1, 1

    found = measure(Wide(3, 100, 3, padding=1))
    assert found.fixed == 0 and found.frame == pytest.approx(1.5 * 4 * (3 + 100), rel=0.02)
    video = measure(VIDEO)
    # Held of every frame: four branches and the spatial features, 8 channels at half size each, twice RGB.
    assert video.frame >= 1.5 * 4 * (5 * 8 / 4 + 6) and video.fixed > 0
    assert measure(VIDEO) == video


def test_device() -> None:
    assert choose("cpu", "fp32").precision == "fp32"
    assert choose("cpu", "auto").precision in ("fp32", "bf16")
    assert choose("cpu").budget == CPU_BUDGET
    with pytest.raises(VqeError, match="--device cuda:99 was asked for, and PyTorch"):
        choose("cuda:99")
    if not torch.cuda.is_available():
        with pytest.raises(VqeError, match="sees no CUDA devices here"):
            choose("cuda")


def test_too_little_memory_is_told() -> None:
    with pytest.raises(VqeError, match="has not enough memory"), CPU.running():
        torch.empty(2**50)


def test_preparing_rounds_weights_only() -> None:
    """Of a folded network after folding; the last layer is zero, so that the input comes through as it is."""
    small = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4, "mlp_ratio": 2}
    precise = replace(CPU, precision="bf16")
    assert precise.prepare(networks.build("swinir", small)).conv_first.weight.dtype == torch.bfloat16
    prepared = precise.prepare(networks.build("qecnn", {"channels": 8, "blocks": 1}))
    weights = prepared.weights_at(30.0, torch.bfloat16, torch.device("cpu"))
    assert weights.head.weight.dtype == torch.bfloat16
    x = torch.rand(1, 3, 16, 16)
    with precise.running():
        out = prepared(x, torch.tensor([30.0]))
    assert out.dtype == torch.float32 and torch.equal(out, x)
