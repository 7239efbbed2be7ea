"""Pairs of videos compared, on clips made for it, with values reckoned by hand and FFmpeg's as truth."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA, shared_path
from small_clips import MATRIX_BT601, Planes, clip, write, write_images

from vqe_cli.errors import VqeError
from vqe_cli.measure.compare import compare_pair
from vqe_cli.measure.result import Options
from vqe_cli.video.inspect import inspect
from vqe_cli.video.reader import RawLayout

COUNT = 12


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write(tmp_path / "truth.mkv", clip(COUNT))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return write(tmp_path / "output.mkv", clip(COUNT, noise=2))


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return write(tmp_path / "input.mkv", clip(COUNT, noise=6))


def lifted(planes: Planes, steps: int) -> Planes:
    """Luma higher by so many codes everywhere."""
    return (planes[0] + np.uint8(steps), *planes[1:])


def flat_clip(levels: list[int]) -> list[Planes]:
    """Frames of one luma code each, without colour."""
    return [(np.full((16, 16), level, np.uint8), *(np.full((8, 8), 128, np.uint8),) * 2) for level in levels]


def test_means_and_conversion_on_a_case_reckoned_by_hand(tmp_path: Path) -> None:
    """RGB rounded to 8 bits, peak 255, mean over frames.

    BT.709 limited, no colour: luma 100 is RGB 255 * 84 / 219 = 97.81, which is 98 as uint8; 101 is 98.97 →
    99; 102 is 100.14 → 100. Errors of 1 and 2 in every sample: 48.1308 and 42.1102 dB, mean 45.1205.
    """
    gt = write(tmp_path / "gt.mkv", flat_clip([100, 100]))
    pred = write(tmp_path / "pred.mkv", flat_clip([101, 102]))
    found = compare_pair(gt, pred, metrics=["psnr-rgb-float", "psnr-y"]).output
    one, two = 10 * math.log10(255**2), 10 * math.log10(255**2 / 4)
    assert found["psnr-rgb-float"].values == pytest.approx([one, two])
    assert found["psnr-rgb-float"].mean == pytest.approx((one + two) / 2)
    assert found["psnr-y"].values == pytest.approx([one, two])


def test_gain_over_the_input(truth: Path, output: Path, given: Path) -> None:
    result = compare_pair(truth, output, given, metrics=["psnr-y"])
    alone = compare_pair(truth, given, metrics=["psnr-y"])
    assert result.given is not None
    assert result.given["psnr-y"].values == alone.output["psnr-y"].values
    assert result.output["psnr-y"].mean > result.given["psnr-y"].mean
    assert (result.frames, result.size, result.rate) == (tuple(range(COUNT)), (64, 48), 25.0)
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("chosen", "frames"),
    [
        ({"every": 5, "offset": 4}, (4, 9)),
        ({"every": 5}, (0, 5, 10)),
        ({"max_frames": 3}, (0, 1, 2)),
        ({"every": 2, "offset": 1, "max_frames": 6}, (1, 3, 5)),
    ],
)
def test_only_the_frames_asked_for(truth: Path, output: Path, chosen: dict, frames: tuple[int, ...]) -> None:
    every = compare_pair(truth, output, metrics=["psnr", "xpsnr"])
    some = compare_pair(truth, output, metrics=["psnr", "xpsnr"], options=Options(**chosen))
    assert some.frames == frames
    assert some.output["psnr"].values == tuple(every.output["psnr"].values[frame] for frame in frames)
    assert len(some.output["xpsnr"].values) == len(frames)


def test_a_cropped_border_does_not_count(tmp_path: Path, truth: Path) -> None:
    spoilt = []
    for luma, *chroma in clip(COUNT):
        edge = luma.copy()
        edge[:4], edge[-4:], edge[:, :4], edge[:, -4:] = 0, 0, 0, 0
        spoilt.append((edge, *chroma))
    pred = write(tmp_path / "spoilt.mkv", spoilt)
    assert compare_pair(truth, pred, metrics=["psnr-y"]).output["psnr-y"].mean < 30
    cut = compare_pair(truth, pred, metrics=["psnr", "psnr-y", "psnr-u", "ssim"], options=Options(crop_px=4))
    assert cut.size == (56, 40)
    for name in ("psnr", "psnr-y", "psnr-u"):
        assert cut.output[name].mean == math.inf
    assert cut.output["ssim"].mean == pytest.approx(1)


def test_identical_frames_are_said(tmp_path: Path, truth: Path) -> None:
    frames = clip(COUNT)
    frames[3] = lifted(frames[3], 1)
    result = compare_pair(truth, write(tmp_path / "nearly.mkv", frames), metrics=["psnr-y"])
    assert result.output["psnr-y"].identical == COUNT - 1
    assert any("11 of 12 frames are identical" in warning for warning in result.warnings)


def test_different_counts_name_both(tmp_path: Path, truth: Path) -> None:
    short = write(tmp_path / "short.mkv", clip(COUNT - 2))
    with pytest.raises(VqeError, match=r"truth\.mkv has 12 and .*short\.mkv has 10"):
        compare_pair(truth, short, metrics=["psnr-y"])
    with pytest.raises(VqeError, match=r"short\.mkv has 10 and .*truth\.mkv has 12"):
        compare_pair(short, truth, metrics=["psnr-y"])
    assert (
        compare_pair(truth, short, metrics=["psnr-y"], options=Options(max_frames=10))
        .output["psnr-y"]
        .identical
    )


def test_different_sizes_name_both(tmp_path: Path, truth: Path) -> None:
    wide = write(tmp_path / "wide.mkv", clip(COUNT, width=80))
    with pytest.raises(VqeError, match=r"wide\.mkv is 80x48 and .*truth\.mkv is 64x48"):
        compare_pair(truth, wide)


def test_no_frame_left_is_an_error(truth: Path, output: Path) -> None:
    with pytest.raises(VqeError, match=r"No frame of .* was measured; it has 12"):
        compare_pair(truth, output, options=Options(every=100, offset=50))


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"every": 3, "offset": 3}, {"crop_px": -1}, {"max_frames": 0}]
)
def test_options_that_pick_nothing(wrong: dict) -> None:
    with pytest.raises(VqeError):
        Options(**wrong)


def test_tags_that_differ_are_warned_about_and_read_by_one_matrix(tmp_path: Path, truth: Path) -> None:
    other = write(tmp_path / "other.mkv", clip(COUNT), matrix=MATRIX_BT601)
    result = compare_pair(truth, other, metrics=["psnr"])
    assert result.output["psnr"].mean == math.inf
    assert result.matrix == "bt709"
    assert len(result.warnings) == 1
    assert "tagged bt601" in result.warnings[0]
    assert "bt709" in result.warnings[0]


@pytest.mark.parametrize("untagged_truth", [True, False])
def test_an_untagged_side_takes_the_other_ones_matrix(
    tmp_path: Path, truth: Path, untagged_truth: bool
) -> None:
    """48 lines without a tag are BT.601 by themselves."""
    untagged = write(tmp_path / "untagged.mkv", clip(COUNT), matrix=2)
    pair = (untagged, truth) if untagged_truth else (truth, untagged)
    result = compare_pair(*pair, metrics=["psnr"])
    assert (result.matrix, result.output["psnr"].mean, result.warnings) == ("bt709", math.inf, ())


def test_a_shift_is_warned_about(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt.mkv", clip(30))
    late = write(tmp_path / "late.mkv", clip(30, noise=3, start=1))
    warnings = compare_pair(gt, late, metrics=["psnr-y"]).warnings
    assert len(warnings) == 1
    assert "out of step" in warnings[0]
    assert "frame n-1" in warnings[0]


def test_an_upscalers_input_is_enlarged(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt.mkv", clip(3))
    small = write(tmp_path / "small.mkv", [tuple(plane[::2, ::2] for plane in planes) for planes in clip(3)])
    result = compare_pair(gt, gt, small, metrics=["psnr-y"])
    assert result.given is not None
    assert 10 < result.given["psnr-y"].mean < 60


def test_ten_bits(tmp_path: Path) -> None:
    """10-bit sides keep their precision: an error of one 10-bit code is 60.2 dB, not rounded away."""

    def deep(steps: int) -> list[Planes]:
        return [
            tuple(plane.astype(np.uint16) * 4 + steps for plane in planes) for planes in flat_clip([100, 60])
        ]

    gt = write(tmp_path / "gt.mkv", deep(0), "yuv420p10le")
    pred = write(tmp_path / "pred.mkv", deep(1), "yuv420p10le")
    found = compare_pair(gt, pred, metrics=["psnr-y", "ssim-ffmpeg"]).output
    assert found["psnr-y"].values == pytest.approx([20 * math.log10(1023)] * 2)
    assert 0.999 < found["ssim-ffmpeg"].mean < 1


@pytest.mark.parametrize("side", [1, 7, 16])
def test_tiny_pictures_have_no_value_where_metrics_do_not_apply(tmp_path: Path, side: int) -> None:
    """FFmpeg's xpsnr divides by zero there, which would end the process."""
    frames = [
        (np.full((side, side), 90 + n, np.uint8), *(np.full((-(-side // 2),) * 2, 128, np.uint8),) * 2)
        for n in (0, 1)
    ]
    gt, pred = write(tmp_path / "gt.mkv", frames), write(tmp_path / "pred.mkv", frames[::-1])
    found = compare_pair(gt, pred, metrics=["psnr", "ssim", "ms-ssim", "xpsnr", "vif", "ssim-ffmpeg"]).output
    assert found["psnr"].mean is not None
    assert (found["ms-ssim"].mean, found["xpsnr"].values, found["vif"].mean) == (None, (None, None), None)
    assert (found["ssim"].mean is None) == (side < 11)
    assert (found["ssim-ffmpeg"].mean is None) == (side < 8)


def test_raw_video(tmp_path: Path, truth: Path) -> None:
    raw = tmp_path / "raw.yuv"
    raw.write_bytes(b"".join(plane.tobytes() for planes in clip(COUNT, noise=2) for plane in planes))
    output = write(tmp_path / "same.mkv", clip(COUNT, noise=2))
    layout = Options(raw=RawLayout(64, 48))
    assert (
        compare_pair(truth, raw, options=layout, metrics=["psnr"]).output
        == compare_pair(truth, output, metrics=["psnr"]).output
    )
    with pytest.raises(VqeError, match="does not say its size"):
        compare_pair(truth, raw)
    with pytest.raises(VqeError, match="not a whole number of 66x48"):
        compare_pair(truth, raw, options=Options(raw=RawLayout(66, 48)))
    with pytest.raises(VqeError, match="not a pixel format"):
        compare_pair(truth, raw, options=Options(raw=RawLayout(64, 48, "yuv42p")))


def test_y4m(tmp_path: Path, truth: Path) -> None:
    y4m = write(tmp_path / "clip.y4m", clip(COUNT), codec="wrapped_avframe")
    assert compare_pair(truth, y4m, metrics=["psnr"]).output["psnr"].mean == math.inf


def test_image_folders(tmp_path: Path) -> None:
    pictures = [
        np.random.default_rng(seed).integers(0, 250, (3, 40, 40)).astype(np.uint8) for seed in range(3)
    ]
    gt = write_images(tmp_path / "gt", [tuple(picture) for picture in pictures])
    pred = write_images(tmp_path / "pred", [tuple(picture + np.uint8(1)) for picture in pictures])
    found = compare_pair(gt, pred, metrics=["psnr", "psnr-y", "psnr-u"]).output
    assert found["psnr"].values == pytest.approx([20 * math.log10(255)] * 3)
    assert found["psnr-y"].mean == pytest.approx(20 * math.log10(255 * 255 / 219))
    assert found["psnr-u"].mean is None


def test_luma_of_a_corpus_clip_is_that_of_ffmpeg() -> None:
    """The manifest's figure comes from the mean squared error over the clip."""
    import json

    clips = {c["name"]: c for c in json.loads(shared_path("corpus/manifest.json").read_text())["clips"]}
    name = "201_basketball"
    gt, lq = (shared_path(f"corpus/val/{folder}/{name}.mkv") for folder in ("raw", "lq/qp37"))
    found = compare_pair(gt, lq, metrics=["psnr-y"])
    errors = [255**2 / 10 ** (value / 10) for value in found.output["psnr-y"].values]
    mean = 10 * math.log10(255**2 / np.mean(errors))
    assert mean == pytest.approx(clips[name]["lq"]["qp37"]["psnr_y"], abs=6e-4)
    assert set(found.qp) != {None}
    assert found.pqf[0]
    assert sum(found.pqf) > 5


def test_pieces_of_the_frames_that_changed_most(tmp_path: Path, truth: Path) -> None:
    """The output differs from the input in one place of one frame, and that is what is shown."""
    frames = clip(COUNT, width=320, height=240)
    gt = write(tmp_path / "gt.mkv", frames)
    changed = [tuple(plane.copy() for plane in planes) for planes in frames]
    changed[7][0][150:170, 200:230] ^= 63
    result = compare_pair(
        gt, write(tmp_path / "out.mkv", changed), gt, metrics=["psnr"], options=Options(crops=1)
    )
    (crop,) = result.crops
    x, y, width, height = crop.box
    assert crop.frame == 7
    assert (width, height) == (144, 108)
    assert x <= 200 and x + width >= 230 and y <= 150 and y + height >= 170
    assert crop.quality["input"] == math.inf
    assert crop.quality["output"] < 40
    assert np.array_equal(crop.pictures["input"], crop.pictures["truth"])
    assert crop.pictures["output"].shape == (108, 144, 3)


def test_torch_keeps_its_threads(truth: Path, output: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one = compare_pair(truth, output, options=Options(threads=1))
        many = compare_pair(truth, output, options=Options(threads=3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert replace(one, seconds=0) == replace(many, seconds=0)


def test_the_unreadable_is_named(tmp_path: Path, truth: Path) -> None:
    empty = tmp_path / "empty.mkv"
    empty.touch()
    text = tmp_path / "text.mkv"
    text.write_text("no video")
    for path in (empty, text, tmp_path / "missing.mkv"):
        with pytest.raises(VqeError, match=path.name):
            compare_pair(truth, path)


def test_peaks_of_av1_are_those_that_inspect_shows() -> None:
    path = DATA / "av1" / "aom_crf35.mkv"
    result = compare_pair(path, path, metrics=("psnr-y",))
    assert result.pqf == tuple(frame.peak for frame in inspect(path).frames)
