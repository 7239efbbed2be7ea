"""The reader against streams whose QPs, kinds, order and times are known from other programs."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import shared_path
from tiny_clips import make_clip, picture, planes

from vqe_cli.errors import VqeError
from vqe_cli.video.frame import Frame
from vqe_cli.video.reader import RawLayout, Reader

STREAMS = [
    "hm_ra_qp37.bin",
    "hm_ldp_main10_neg.bin",
    "hm_ra_eos.hevc",
    "hm_ldp_midstart.hevc",
    "hmx_ra_picoutput.bin",
    "x265_bpyr_opengop.hevc",
    "x265_keyint10.hevc",
    "concat_twice.hevc",
]
CONTAINERS = [
    "hm_ra_qp37.ts",
    "hm_ra_qp37_cracut.mkv",
    "hm_ra_qp37_hev1_bare.mp4",
    "x265_crf28_aac.mp4",
    "x265_crf28_vfr.mkv",
    "x265_main10.hvc1.mp4",
    "x265_norepeat_editlist.mp4",
]

# Not one video for a player: the picture changes its size or depth, or is interlaced.
REFUSED = {
    "two_res_hm.hevc": "picture size",
    "two_res_x265.hevc": "picture size",
    "depth_change.hevc": "pixel format",
    "x265_tff.hevc": "interlaced",
}

# Pictures at the start that need a key picture which the stream does not have.
LEFT_OUT = {"hm_ldp_midstart": 5, "hm_ra_cracut": 15, "hm_ra_qp37_cracut": 15}
LEFT_OUT |= {"x265_cracut": 7, "x265_cracut_norepeat": 3}


def read(path: Path) -> tuple[list[Frame], list[str]]:
    with Reader(path) as reader:
        return list(reader), reader.warnings


def truth_of(path: Path) -> list[dict]:
    beside = path.with_name(path.name + ".json")
    return json.loads((beside if beside.exists() else path.with_suffix(".json")).read_text())["frames"]


def assert_as_told(path: Path) -> None:
    frames, warnings = read(path)
    truth = truth_of(path)
    assert [frame.qp for frame in frames] == [told["slice_qp"] for told in truth]
    assert [frame.network_qp for frame in frames] == [told["slice_qp"] for told in truth]
    assert [frame.kind for frame in frames] == [told["type"] for told in truth]
    assert [frame.irap for frame in frames] == [told["irap"] for told in truth]
    assert [frame.index for frame in frames] == list(range(len(truth)))
    left_out = LEFT_OUT.get(path.stem, 0)
    assert len(warnings) == (left_out > 0)
    assert all(f" {left_out} pictures are left out" in warning for warning in warnings)


@pytest.mark.parametrize("name", STREAMS)
def test_frames_carry_the_qp_of_their_headers(name: str) -> None:
    found = shared_path("hevc/streams").glob(Path(name).stem + ".*")
    [path] = [each for each in found if each.suffix != ".json"]
    assert_as_told(path)


@pytest.mark.slow
def test_frames_of_all_streams_carry_their_qp() -> None:
    paths = [path for path in shared_path("hevc/streams").iterdir() if path.suffix in (".bin", ".hevc")]
    assert len(paths) == 104
    for path in paths:
        if path.name not in REFUSED:
            assert_as_told(path)


@pytest.mark.parametrize("name", CONTAINERS)
def test_frames_of_containers_carry_qp_and_time(name: str) -> None:
    path = shared_path("hevc/containers") / name
    assert_as_told(path)
    with Reader(path) as reader:
        times = [float(frame.pts * reader.info.time_base) for frame in reader if frame.pts is not None]
    assert np.allclose(times, [told["time"] for told in truth_of(path)], atol=6e-4)


@pytest.mark.parametrize(
    "name", ["x264_crf28.mkv", "mpeg2.mpg", "xvid.avi", "vp9.webm", "av1.mkv", "mjpeg.avi"]
)
def test_other_codecs_give_what_ffmpeg_exports(name: str) -> None:
    path = shared_path("hevc/other") / name
    frames, _ = read(path)
    for frame, told in zip(frames, truth_of(path), strict=True):
        assert frame.kind == told["type"]
        if name == "av1.mkv":  # FFmpeg exports nothing: tests/bitstream/test_av1.py compares with its trace
            assert frame.qp is not None
        elif told["mean_qp"] is None:
            assert frame.qp is None
        else:
            assert frame.qp == pytest.approx(told["mean_qp"], abs=1e-3)
        assert frame.network_qp == (frame.qp if name.startswith("x264") else None)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_what_is_not_one_video_is_refused_with_a_command(name: str, reason: str) -> None:
    path = shared_path("hevc/streams") / name
    with pytest.raises(VqeError, match=reason) as caught:
        read(path)
    assert name in caught.value.message
    assert "ffmpeg -i" in caught.value.remedy


@pytest.mark.parametrize(
    "name",
    ["bitflip1", "bitflip2", "first_pps_missing", "garbage_between", "missing_pictures", "trunc_mid_nal"],
)
def test_damaged_streams_give_the_frames_that_ffmpeg_can_show(name: str) -> None:
    folder = shared_path("hevc/damaged")
    told = json.loads((folder / "expected.json").read_text())[f"{name}.hevc"]["pyav_18_1"]
    frames, warnings = read(folder / f"{name}.hevc")
    assert len(frames) == told["frames_with_output_corrupt"]
    lost = told["frames_with_output_corrupt"] - told["frames"]
    assert any(f"{lost} pictures shown although" in each for each in warnings) == (lost > 0)


@pytest.mark.parametrize("name", ["no_sps", "random", "random_startcodes", "text", "empty"])
def test_streams_without_pictures_are_one_sentence(name: str) -> None:
    path = shared_path("hevc/damaged") / f"{name}.hevc"
    with pytest.raises(VqeError) as caught:
        read(path)
    assert f"{name}.hevc" in caught.value.message
    assert caught.value.remedy


def test_a_log_gives_the_qps_that_headers_do_not(tmp_path: Path) -> None:
    stream = shared_path("hevc/streams/hm_ldp_idr8.bin")
    for log in ("hm_ldp_idr8.enc.log", "hm_ldp_idr8.dec.log"):
        with Reader(stream, hm_log=shared_path("hevc/logs") / log) as reader:
            assert [frame.qp for frame in reader] == [told["slice_qp"] for told in truth_of(stream)]
    with pytest.raises(VqeError, match="does not match"):
        Reader(stream, hm_log=shared_path("hevc/logs/mismatch_hm_ldp_qp37.enc.log")).__enter__()
    # Decoded to raw pictures the headers are gone, and the log is all there is.
    with Reader(stream) as reader:
        raw = b"".join(plane.tobytes() for frame in reader for plane in frame.planes)
    (tmp_path / "decoded.yuv").write_bytes(raw)
    log = shared_path("hevc/logs/hm_ldp_idr8.dec.log")
    with Reader(tmp_path / "decoded.yuv", log, raw=RawLayout(208, 120)) as reader:
        assert [frame.qp for frame in reader] == [told["slice_qp"] for told in truth_of(stream)]


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p12le", "gray", "gray10le", "gbrp10le", "yuv420p16le"],
)
@pytest.mark.parametrize("size", [(33, 17), (16, 16)])
def test_lossless_planes_come_back(tmp_path: Path, pix_fmt: str, size: tuple[int, int]) -> None:
    path = make_clip(tmp_path / "clip.mkv", pix_fmt=pix_fmt, size=size, count=2)
    frames, _ = read(path)
    for number, frame in enumerate(frames):
        for plane, made in zip(frame.planes, planes(pix_fmt, *size, number), strict=True):
            assert plane.dtype == made.dtype
            assert np.array_equal(plane, made)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "gbrp10le", "gray"])
def test_planes_are_in_the_order_of_another_reader(tmp_path: Path, pix_fmt: str) -> None:
    path = make_clip(tmp_path / "clip.mkv", pix_fmt=pix_fmt, count=1)
    [frame], _ = read(path)
    with av.open(str(path)) as container:
        array = next(
            container.decode(video=0)
        ).to_ndarray()  # R, G, B last; Y, U, V first or one below the other
    if pix_fmt == "gbrp10le":
        assert np.array_equal(np.stack(frame.planes, axis=-1), array)
    else:
        assert np.array_equal(np.concatenate([plane.ravel() for plane in frame.planes]), array.ravel())


def test_repeated_pictures_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "repeats.mkv"
    order = [0, 0, 0, 1, 2, 2, 0]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height = 64, 48
        for time, number in enumerate(order):
            shown = picture("yuv420p", 64, 48, number)
            shown.pts = time
            output.mux(stream.encode(shown))
        output.mux(stream.encode(None))
    frames, _ = read(path)
    assert [frame.duplicate_of for frame in frames] == [None, 0, 0, None, None, 4, None]


def test_a_part_is_counted_in_shown_pictures() -> None:
    path = shared_path("hevc/containers/hm_ra_qp37.mkv")
    whole, _ = read(path)
    with Reader(path, start=10, frames=5) as reader:
        part = list(reader)
    assert [frame.index for frame in part] == list(range(10, 15))
    assert [frame.pts for frame in part] == [frame.pts for frame in whole[10:15]]
    assert all(np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(part, whole[10:15], strict=True))
    with pytest.raises(VqeError, match="only 49 pictures"), Reader(path, start=49) as reader:
        list(reader)


@pytest.mark.parametrize("name", ["x265_crf28_aac.mkv", "hm_ra_qp37_frag.mp4"])
def test_truncated_files_give_what_is_there_and_one_warning(tmp_path: Path, name: str) -> None:
    content = (shared_path("hevc/containers") / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 6 // 10])
    frames, warnings = read(tmp_path / name)
    truth = truth_of(shared_path("hevc/containers") / name)
    assert 10 < len(frames) < len(truth)
    assert [frame.qp for frame in frames] == [told["slice_qp"] for told in truth[: len(frames)]]
    assert len(warnings) == 1
    assert "is damaged" in warnings[0]
