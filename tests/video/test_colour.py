"""Colour against colour-science and zimg, and what the residual's way back promises."""

import numpy as np
import pytest
import torch
from conftest import DATA, shared_path
from safetensors.numpy import load_file
from torch import Tensor

from vqe_cli.video import colour as colours
from vqe_cli.video.frame import Colour

SHIPPED = DATA / "colour" / "colour.safetensors"
CASES = sorted(key for key in load_file(SHIPPED) if key.startswith("output."))


def case_colour(key: str) -> Colour:
    """`output.420.bt709_limited_8bit.left.bilinear` says its colour."""
    _, sampling, name, *rest = key.split(".")
    matrix, code_range, bits = name.split("_")
    subsampling = (1, 1) if sampling == "444" else (2, 2)
    siting = rest[0] if sampling == "420" else "left"
    return Colour(matrix, code_range == "full", int(bits.removesuffix("bit")), subsampling, siting)


def case_planes(truth: dict[str, np.ndarray], key: str, colour: Colour, dtype: torch.dtype) -> list[Tensor]:
    if ".444." in key:
        codes = torch.from_numpy(truth[f"input.yuv444_{colour.bit_depth}bit.codes"]).to(dtype)
        return [plane[None, None] for plane in codes]
    names = [f"input.yuv420_{colour.bit_depth}bit.{plane}_codes" for plane in "yuv"]
    return [torch.from_numpy(truth[name]).to(dtype)[None, None] for name in names]


@pytest.mark.parametrize("key", CASES)
def test_rgb_equals_the_references(key: str) -> None:
    truth = load_file(SHIPPED)
    colour = case_colour(key)
    limit = {"rgb_colour": 1e-9, "rgb_zscale": 2e-6, "bilinear": 1e-5}[key.rsplit(".", 1)[1]]
    exact = colours.to_rgb(case_planes(truth, key, colour, torch.float64), colour)[0].numpy()
    assert np.abs(exact - truth[key]).max() <= limit
    single = colours.to_rgb(case_planes(truth, key, colour, torch.float32), colour)
    assert single.dtype == torch.float32
    assert np.abs(single[0].numpy() - truth[key]).max() <= max(limit, 2e-6)


def test_every_shared_case_is_met() -> None:
    truth = load_file(shared_path("golden/colour.safetensors"))
    keys = [key for key in truth if key.startswith("output.") and not key.endswith("catmullrom")]
    assert len(keys) >= 34
    for key in keys:
        colour = case_colour(key)
        rgb = colours.to_rgb(case_planes(truth, key, colour, torch.float32), colour)[0].numpy()
        assert np.abs(rgb - truth[key]).max() <= (1e-5 if ".420." in key else 2e-6), key


@pytest.mark.parametrize("matrix", [*colours.LUMA_WEIGHTS, "ycgco"])
@pytest.mark.parametrize("full_range", [False, True])
def test_a_444_residual_comes_back_as_it_went(matrix: str, full_range: bool) -> None:
    colour = Colour(matrix, full_range, 10, (1, 1))
    generator = torch.Generator().manual_seed(1)
    planes = [torch.rand(2, 1, 9, 7, generator=generator, dtype=torch.float64) * 1000 for _ in range(3)]
    residual = torch.rand(2, 3, 9, 7, generator=generator, dtype=torch.float64) - 0.5
    changed = colours.residual_to_planes(residual, colour)
    after = colours.to_rgb([plane + change for plane, change in zip(planes, changed, strict=True)], colour)
    assert torch.allclose(after, colours.to_rgb(planes, colour) + residual, atol=1e-12)


@pytest.mark.parametrize("subsampling", [(2, 2), (2, 1), (1, 2), (4, 1)])
@pytest.mark.parametrize("siting", ["left", "topleft", "center", "top", "bottomleft", "bottom"])
def test_down_undoes_up(subsampling: tuple[int, int], siting: str) -> None:
    colour = Colour("bt709", False, 8, subsampling, siting)
    height, width = 24, 32
    small = torch.rand(1, 2, height // subsampling[1], width // subsampling[0], dtype=torch.float64)
    large = colours.upsample_chroma(small, (height, width), colour)
    assert torch.allclose(colours.downsample_chroma(large, colour), small, atol=1e-12)


def test_down_is_no_worse_than_averaging_against_white_noise() -> None:
    """The nearest chroma to an RGB change: smaller error on the luma grid than a box filter leaves."""
    colour = Colour("bt709", False, 8, (2, 2), "center")
    noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    ours = colours.upsample_chroma(colours.downsample_chroma(noise, colour), (64, 64), colour)
    box = colours.upsample_chroma(torch.nn.functional.avg_pool2d(noise, 2), (64, 64), colour)
    smooth = colours.upsample_chroma(colours.downsample_chroma(box, colour), (64, 64), colour)
    assert torch.allclose(smooth, box, atol=1e-5)
    assert (ours - noise).square().mean() < noise.square().mean()
    assert (ours - noise).square().mean() < (box - noise).square().mean()


@pytest.mark.parametrize("bit_depth", [8, 10, 16])
@pytest.mark.parametrize("size", [(16, 16), (33, 47), (1, 1)])
def test_zero_residual_is_the_input_bit_for_bit(bit_depth: int, size: tuple[int, int]) -> None:
    colour = Colour("bt709", False, bit_depth, (2, 2))
    numbers = np.random.default_rng(3)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    small = (-(-size[0] // 2), -(-size[1] // 2))
    planes = tuple(numbers.integers(0, 2**bit_depth, shape, dtype) for shape in (size, small, small))
    tensors = colours.to_tensors(planes)
    residual = colours.residual_to_planes(torch.zeros(1, 3, *size), colour)
    written = colours.to_arrays(colours.add_residual(tensors, residual, bit_depth), bit_depth)
    for plane, result in zip(planes, written, strict=True):
        assert result.dtype == plane.dtype
        assert np.array_equal(result, plane)


def test_residual_rounds_to_the_nearest_code_and_stays_in_range() -> None:
    plane = torch.tensor([0, 255, 100, 100, 100, 7], dtype=torch.uint8).view(1, 1, 1, 6)
    change = torch.tensor([-3.0, 3.0, 0.4, 0.6, -1.6, 300.0]).view(1, 1, 1, 6)
    assert colours.add_residual([plane], [change], 8)[0].flatten().tolist() == [0, 255, 100, 101, 98, 255]


def test_gray_takes_the_luma_of_a_change() -> None:
    colour = Colour("gray", False, 8, (1, 1))
    plane = torch.full((1, 1, 4, 4), 128, dtype=torch.uint8)
    assert colours.to_rgb([plane], colour).shape == (1, 3, 4, 4)
    (change,) = colours.residual_to_planes(torch.full((1, 3, 4, 4), 10 / 219), colour)
    assert torch.allclose(change, torch.full((1, 1, 4, 4), 10.0), atol=1e-5)


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("scale", [2, 4])
def test_upscaled_planes_keep_the_siting(siting: str, scale: int) -> None:
    """A ramp over the picture is the same ramp afterwards, for luma and for chroma where its samples lie."""
    colour = Colour("bt709", False, 16, (2, 2), siting)
    down, across = colours.chroma_offset(colour)
    luma = (torch.arange(40) * 64 + torch.arange(32)[:, None] * 640)[None, None].to(torch.int32)
    chroma_x, chroma_y = torch.arange(20) * 2 + across, torch.arange(16)[:, None] * 2 + down
    chroma = (chroma_x * 64 + chroma_y * 640).to(torch.int32)[None, None]
    grown = colours.upscale_planes([luma, chroma, chroma], colour, scale)
    for plane, step, offset in ((grown[0], 1, (0.0, 0.0)), (grown[1], 2, (down, across))):
        rows = (torch.arange(32 * scale // step) * step + offset[0] + 0.5) / scale - 0.5
        columns = (torch.arange(40 * scale // step) * step + offset[1] + 0.5) / scale - 0.5
        ramp = columns * 64 + rows[:, None] * 640
        inner = slice(4 * scale, -4 * scale)
        assert (plane[0, 0] - ramp)[inner, inner].abs().max() <= 0.5


def test_a_matrix_without_equations_is_named() -> None:
    with pytest.raises(ValueError, match="ictcp"):
        colours.rgb_to_yuv_matrix("ictcp")
