"""base_q_idx of AV1 against FFmpeg's `trace_headers`, on streams of SVT-AV1, libaom and rav1e."""

import os
import random
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import DATA
from hevc_truth import file
from test_trace_headers import logged_fields

from vqe_cli.bitstream.av1 import Av1Parser
from vqe_cli.restore.choices import PeakRule
from vqe_cli.restore.marking import PeakCount, mark_peaks
from vqe_cli.video.inspect import inspect
from vqe_cli.video.reader import Reader

# Made with libaom 3.13 and rav1e 0.8 of FFmpeg 9.0.2 from its testsrc2; the names say with which options.
KEPT = [
    *("aom_crf35.mkv", "aom_realtime.mkv", "aom_resilient.mp4", "aom_still.avif", "aom_tiles10.mkv"),
    "rav1e.mkv",
]
# Of SVT-AV1, made here: parameters, size, pixel format.
MADE = {
    "plain": ("", (64, 64), "yuv420p"),
    "levels": ("hierarchical-levels=3:keyint=7", (64, 64), "yuv420p"),
    "low delay": ("pred-struct=1", (64, 64), "yuv420p"),
    "ten bits": ("", (80, 64), "yuv420p10le"),
    "tiles": ("tile-columns=2:tile-rows=1", (640, 192), "yuv420p"),
    "superres": ("superres-mode=1:superres-denom=13", (96, 64), "yuv420p"),
    "resize": ("resize-mode=1:resize-denom=12", (96, 64), "yuv420p"),
    "rate": ("rc=1:tbr=60", (64, 64), "yuv420p"),
}


@pytest.fixture(scope="module", params=[*KEPT, *MADE])
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param in KEPT:
        return DATA / "av1" / request.param
    parameters, size, pix_fmt = MADE[request.param]
    os.environ.setdefault("SVT_LOG", "1")
    path = tmp_path_factory.mktemp("av1") / "svt.mkv"
    options = {"preset": "8", "crf": "40", "svtav1-params": parameters}
    if "rc=1" in parameters:
        del options["crf"]
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libsvtav1", rate=25, options=options)
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        for number in range(14):
            wave = np.add.outer(np.arange(size[1]), np.arange(size[0])) * 2 + 9 * number
            picture = np.stack([wave % 200, wave % 90, wave % 40], 2).astype(np.uint8)
            picture += noise.integers(0, 30, picture.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            container.mux(video.encode(frame.reformat(format=pix_fmt)))
        container.mux(video.encode(None))
    return path


def traced(path: Path) -> list[int]:
    """base_q_idx of the shown pictures, put together from FFmpeg's log."""
    slots = [-1] * 8
    shown: list[int] = []
    frame: dict[str, int] = {}
    for field, value in logged_fields(path):
        if field == "show_existing_frame":
            frame = {}
        frame[field] = value
        if field == "frame_to_show_map_idx":
            shown.append(slots[value])
            assert frame.get("frame_type", 1) != 0, "FFmpeg does not say which slots are filled"
        elif field == "base_q_idx":
            is_shown, kind = frame.get("show_frame", 1), frame.get("frame_type", 0)
            refresh = 255 if kind == 3 or (kind == 0 and is_shown) else frame["refresh_frame_flags"]
            slots = [value if refresh >> k & 1 else old for k, old in enumerate(slots)]
            shown += [value] * is_shown
    return shown


def packets(path: Path) -> tuple[bytes, list[bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return bytes(stream.codec_context.extradata or b""), [bytes(each) for each in container.demux(stream)]


def parsed(path: Path) -> list[int | None]:
    extradata, data = packets(path)
    parser = Av1Parser(extradata)
    return [parser.parse(packet) for packet in data if packet]


def test_qps_of_shown_pictures_agree_with_trace_headers(stream: Path) -> None:
    expected = traced(stream)
    assert expected and parsed(stream) == expected


def test_the_reader_and_inspect_give_them_in_display_order(stream: Path) -> None:
    if stream.suffix == ".avif" or ("svt" in stream.name and _changes_size(stream)):
        pytest.skip("not a video of one size")
    with Reader(stream) as reader:
        frames = list(reader)
    assert [frame.qp for frame in frames] == traced(stream)
    assert all(frame.network_qp is None for frame in frames)  # not on HEVC's scale
    assert [frame.qp for frame in inspect(stream).frames] == traced(stream)


def _changes_size(path: Path) -> bool:
    with av.open(str(path)) as container:
        return len({(picture.width, picture.height) for picture in container.decode(video=0)}) > 1


def test_hidden_frames_lend_their_qp_to_the_picture_that_shows_them() -> None:
    """rav1e's pyramid: every fourth picture, coded first and shown later, is the best of its group."""
    frames = inspect(DATA / "av1/rav1e.mkv").frames
    assert [frame.qp for frame in frames] == [108, 161, 145, 161, 128, 161, 145, 161]
    assert [frame.index for frame in frames if frame.peak] == [0, 2, 4, 6]


def test_a_pyramid_has_peaks_as_far_apart_as_that_of_hevc() -> None:
    """SVT-AV1's lowest layer differs from the one above by 7, one QP of HEVC: that is no peak."""
    frames = inspect(file("other/av1.mkv")).frames
    assert [frame.qp for frame in frames[:9]] == [71, 180, 173, 180, 163, 180, 173, 180, 145]
    assert [frame.index for frame in frames[:17] if frame.peak] == [0, 4, 8, 12, 16]
    with Reader(file("other/av1.mkv")) as reader:
        rule = PeakRule(step=7.0)
        marked = list(mark_peaks(((frame, False) for frame in reader), rule, PeakCount()))
    assert [frame.peak for frame, _ in marked] == [frame.peak for frame in frames]


def test_nothing_is_raised_for_damaged_packets() -> None:
    extradata, data = packets(DATA / "av1/aom_resilient.mp4")
    noise = random.Random(1)
    for _ in range(60):
        parser = Av1Parser(bytes(extradata))
        for packet in data:
            broken = bytearray(packet)
            for _ in range(3):
                if broken:
                    broken[noise.randrange(min(len(broken), 40))] = noise.randrange(256)
            found = parser.parse(bytes(broken[: noise.randrange(len(broken) + 1)]))
            assert found is None or 0 <= found <= 255


def test_after_a_frame_that_cannot_be_read_nothing_is_guessed() -> None:
    extradata, data = packets(DATA / "av1/rav1e.mkv")
    parser = Av1Parser(extradata)
    assert parser.parse(data[0]) == 108
    assert parser.parse(data[1][:6]) is None
    assert parser.parse(data[2]) is None  # shows a frame that was hidden in the one that is lost


def test_vvc_is_read_and_its_qp_is_plainly_unknown() -> None:
    frames = inspect(DATA / "av1/vvc_qp32.mp4").frames
    assert len(frames) == 10
    assert {frame.qp for frame in frames} == {None}
