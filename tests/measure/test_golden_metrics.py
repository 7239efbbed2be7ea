"""PSNR, SSIM and MS-SSIM against numpy, scikit-image and pytorch-msssim; planes against FFmpeg's filters."""

import json

import av
import numpy as np
import pytest
import torch
from conftest import DATA, shared_path
from safetensors.numpy import load_file
from small_clips import BT709, frame

from vqe_cli.measure import psnr_ssim as ssim
from vqe_cli.measure.filters import FilterMetric
from vqe_cli.measure.metrics import METRICS
from vqe_cli.measure.pictures import PairView, View
from vqe_cli.measure.psnr_ssim import plane_mse, psnr_of_mse
from vqe_cli.video.frame import Colour

TOLERANCE = 1e-4
TRUTH = json.loads((DATA / "metrics" / "metrics.json").read_text())
RGB = Colour("rgb", True, 8, (1, 1))


def image(name: str) -> np.ndarray:
    with av.open(str(DATA / "metrics" / f"{name}.png")) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def rgb_pair(gt: np.ndarray, pred: np.ndarray) -> PairView:
    """Both (H, W, 3) uint8."""
    return PairView(*(View(frame(tuple(np.moveaxis(pixels, 2, 0))), RGB) for pixels in (gt, pred)))


def values(pair: PairView, *names: str) -> list[float | None]:
    return [METRICS[name].measure(pair) for name in names]


def check_rgb(pair: PairView, truth: dict) -> None:
    psnr, similarity, multiscale = values(pair, "psnr", "ssim", "ms-ssim")
    assert psnr == pytest.approx(truth["psnr_rgb"], abs=1e-6)
    assert similarity == pytest.approx(truth["ssim_rgb_skimage"], abs=TOLERANCE / 10)
    assert multiscale == pytest.approx(truth["ms_ssim_rgb_pytorch_msssim_f64win"], abs=TOLERANCE / 10)


def test_rgb_metrics_equal_the_reference() -> None:
    check_rgb(rgb_pair(image("rgb1_truth"), image("rgb1_jpeg")), TRUTH["pairs"]["rgb1_jpeg"])


def test_each_channel_equals_the_reference() -> None:
    channels = [
        torch.from_numpy(image(name).copy()).permute(2, 0, 1).float() for name in ("rgb1_truth", "rgb1_jpeg")
    ]
    for index, truth in enumerate(TRUTH["pairs"]["rgb1_jpeg"]["per_channel_RGB"]):
        gt, pred = (picture[index : index + 1].contiguous() for picture in channels)
        assert ssim.ssim(gt, pred) == pytest.approx(truth["ssim_skimage"], abs=TOLERANCE / 10)
        assert ssim.ms_ssim(gt, pred) == pytest.approx(
            truth["ms_ssim_pytorch_msssim_f64win"], abs=TOLERANCE / 10
        )


def test_every_golden_picture() -> None:
    pictures = load_file(shared_path("golden/metrics.safetensors"))
    pairs = json.loads(shared_path("golden/metrics.json").read_text())["pairs"]
    for name, truth in pairs.items():
        if name.startswith("rgb"):
            gt, pred = (pictures[f"input.{picture}.rgb_u8"] for picture in (truth["truth"], name))
            check_rgb(rgb_pair(gt, pred), truth)
            continue
        sides = [
            View(frame(tuple(pictures[f"input.{picture}.{plane}_u8"] for plane in "yuv")), BT709)
            for picture in (truth["truth"], name)
        ]
        pair = PairView(*sides)
        found = values(pair, "psnr-y", "psnr-u", "psnr-v", "psnr-yuv")
        expected = [*(truth[plane]["psnr"] for plane in "yuv"), truth["psnr_yuv_all_samples"]]
        assert found == pytest.approx(expected, abs=1e-9)
        structure = values(pair, "ssim-y", "ms-ssim-y")
        keys = ("ssim_skimage", "ms_ssim_pytorch_msssim_f64win")
        assert structure == pytest.approx([truth["y"][key] for key in keys], abs=TOLERANCE / 10)
        for plane in "uv":  # 136 and 144 pixels high: below the smallest side
            small = [
                torch.from_numpy(pictures[f"input.{p}.{plane}_u8"])[None].float()
                for p in (truth["truth"], name)
            ]
            assert ssim.ssim(*small) == pytest.approx(truth[plane]["ssim_skimage"], abs=TOLERANCE / 10)
            assert ssim.ms_ssim(*small) is None


@pytest.mark.parametrize(("height", "width"), [(40, 64), (41, 64), (40, 63), (41, 63)])
def test_halving_is_average_pooling_with_the_padding_of_the_reference(height: int, width: int) -> None:
    picture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(3))
    pooled = torch.nn.functional.avg_pool2d(picture[None], 2, padding=(height % 2, width % 2))[0]
    torch.testing.assert_close(ssim.halve(picture), pooled)


@pytest.mark.parametrize(("side", "applies"), [(160, False), (161, True)])
def test_ms_ssim_begins_at_161_pixels(side: int, applies: bool) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (side, 200, 3)).astype(np.uint8)
    value = METRICS["ms-ssim"].measure(rgb_pair(picture, picture))
    assert value == pytest.approx(1.0, abs=1e-6) if applies else value is None


def test_both_ways_of_weighing_rows_agree() -> None:
    """oneDNN's convolution, and shifted additions for builds of torch without it."""
    maps = torch.rand(5, 37, 61, generator=torch.Generator().manual_seed(6)) * 255
    torch.testing.assert_close(ssim._weighted_rows(maps), ssim._added_rows(maps))


def test_strips_do_not_show() -> None:
    """A picture of many strips gives what one strip gives."""
    gt, pred = torch.rand(2, 1, 400, 500, generator=torch.Generator().manual_seed(4)) * 255
    whole = ssim.level(gt, pred)
    size = ssim.STRIP_SAMPLES
    try:
        ssim.STRIP_SAMPLES = 20 * 500
        cut = ssim.level(gt, pred)
    finally:
        ssim.STRIP_SAMPLES = size
    assert cut.ssim == pytest.approx(whole.ssim, abs=1e-7)
    assert cut.contrast_structure == pytest.approx(whole.contrast_structure, abs=1e-7)


def golden_clip() -> list[PairView]:
    stored = np.load(DATA / "metrics" / "clip.npz")
    sides = {side: [stored[f"{side}_{plane}"] for plane in "yuv"] for side in ("truth", "x265")}
    return [
        PairView(*(View(frame(tuple(plane[index] for plane in planes)), BT709) for planes in sides.values()))
        for index in range(10)
    ]


def test_planes_equal_ffmpegs_psnr_of_every_frame() -> None:
    for pair, truth in zip(golden_clip(), TRUTH["ffmpeg_clip"]["psnr_per_frame"], strict=True):
        found = values(pair, "psnr-y", "psnr-u", "psnr-v", "psnr-yuv")
        expected = [truth[f"psnr.psnr.{key}"] for key in ("y", "u", "v")] + [truth["psnr.psnr_avg"]]
        assert found == pytest.approx(expected, abs=1e-5)


def test_ffmpegs_ssim_through_pyav_is_that_of_the_program() -> None:
    metric = FilterMetric("ssim", ("lavfi.ssim.Y",), rate=25)
    for pair in golden_clip():
        metric.push(pair)
    assert metric.close() == pytest.approx(
        [f["ssim.Y"] for f in TRUTH["ffmpeg_clip"]["ssim_per_frame"]], abs=1e-5
    )


def test_xpsnr_takes_the_truth_as_its_original() -> None:
    """XPSNR weighs errors by the original's activity: the other order gives other values."""
    forward, backward = (METRICS["xpsnr"].stream for _ in range(2))
    from vqe_cli.measure.metrics import Setup

    found = []
    for opened, swapped in ((forward, False), (backward, True)):
        metric = opened(Setup(rate=50))
        for pair in golden_clip():
            metric.push(PairView(pair.pred, pair.gt) if swapped else pair)
        found.append(metric.close())
    assert len(found[0]) == 10
    assert found[0] == pytest.approx(_xpsnr_by_hand(), abs=1e-4)
    assert found[0] != pytest.approx(found[1], abs=1e-3)


def _xpsnr_by_hand() -> list[float]:
    """FFmpeg's filter fed with whole 4:2:0 pictures, the truth first, as its documentation says."""
    graph = av.filter.Graph()
    arguments = {"video_size": "96x64", "pix_fmt": "yuv420p", "time_base": "1/50", "frame_rate": "50"}
    sources = [graph.add("buffer", **arguments) for _ in range(2)]
    judge, sink = graph.add("xpsnr"), graph.add("buffersink")
    for pad, source in enumerate(sources):
        source.link_to(judge, 0, pad)
    judge.link_to(sink)
    graph.configure()
    for index, pair in enumerate(golden_clip()):
        for source, view in zip(sources, (pair.gt, pair.pred), strict=True):
            tall = np.concatenate([plane.reshape(-1, 96) for plane in view.planes])
            picture = av.VideoFrame.from_ndarray(tall, format="yuv420p")
            picture.pts = index
            source.push(picture)
    for source in sources:
        source.push(None)
    return [float(sink.pull().metadata["lavfi.xpsnr.xpsnr.y"]) for _ in range(10)]


def test_deep_planes_are_exact() -> None:
    """16-bit codes whose squares overflow 32 bits, and a pair of different depths."""
    gt, pred = np.array([[0, 65535]], np.uint16), np.array([[65535, 65535]], np.uint16)
    assert plane_mse(gt, pred) == 65535**2 / 2
    eight, ten = np.full((16, 16), 100, np.uint8), np.full((16, 16), 404, np.uint16)
    deep = View(frame((ten,)), Colour("gray", False, 10, (1, 1)))
    shallow = View(frame((eight,)), Colour("gray", False, 8, (1, 1)))
    assert values(PairView(shallow, deep), "psnr-y")[0] == pytest.approx(psnr_of_mse(16, 1023))
