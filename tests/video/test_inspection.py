"""What `vqe inspect` lists, against the reference decoder's truth."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import DATA, shared_path

from vqe_cli.errors import VqeError
from vqe_cli.video.inspect import inspect

HEVC = DATA / "hevc"
TRUTH = json.loads((HEVC / "truth.json").read_text())
PEAKS = json.loads((HEVC / "pqf_expected.json").read_text())
LISTED = sorted(name for name in TRUTH if not name.startswith("other") and (HEVC / name).exists())


@pytest.mark.parametrize("name", LISTED)
def test_kinds_qps_and_peaks_are_those_of_the_truth(name: str) -> None:
    """Also where a decoder shows less: from the middle of a stream, or across a change of size."""
    found = inspect(HEVC / name, duplicates=False)
    assert [(frame.kind, frame.qp) for frame in found.frames] == [
        (row[1], row[6][0]) for row in TRUTH[name]["frames"]
    ]
    assert [frame.index for frame in found.frames] == list(range(len(found.frames)))
    expected = PEAKS.get(Path(name).stem)
    if name.startswith("streams") and expected:
        assert [frame.index for frame in found.frames if frame.pqf] == expected["prominent"]
        by_minima = inspect(HEVC / name, rule="minima", duplicates=False)
        assert [frame.index for frame in by_minima.frames if frame.pqf] == expected["qp"]


@pytest.mark.parametrize("name", ["hm_ra_qp37.hvc1.mp4", "x265_crf28_vfr.mkv", "x265_norepeat_editlist.mp4"])
@pytest.mark.parametrize("duplicates", [True, False])
def test_times_are_those_of_the_container(name: str, duplicates: bool) -> None:
    truth = json.loads(shared_path(f"hevc/containers/{name}.json").read_text())["frames"]
    found = inspect(shared_path(f"hevc/containers/{name}"), duplicates=duplicates)
    times = [frame.pts * found.info.time_base for frame in found.frames if frame.pts is not None]
    assert [float(time) for time in times] == pytest.approx([row["time"] for row in truth], abs=0.0011)


@pytest.mark.parametrize("name", ["x264_crf28.mkv", "vp9.webm"])
def test_other_codecs_are_listed_by_what_their_decoders_export(name: str) -> None:
    truth = TRUTH[f"other/{name}"]["frames"]
    found = inspect(HEVC / "other" / name)
    assert len(found.frames) == len(truth)
    assert all(frame.qp is not None for frame in found.frames)
    assert inspect(HEVC.parent / "av1" / "vvc_qp32.mp4").frames[0].qp is None


@pytest.mark.parametrize("codec", ["ffv1", "libx265"])
def test_repeated_pictures_are_told(tmp_path: Path, codec: str) -> None:
    """Six pictures, A A A B B A: of each standstill the first is the original."""
    path = tmp_path / "still.mkv"
    shades = [40, 40, 40, 200, 200, 40]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"x265-params": "lossless=1:log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in shades:
            picture = av.VideoFrame.from_ndarray(np.full((72, 64), shade, np.uint8), format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    found = inspect(path)
    assert [frame.duplicate_of for frame in found.frames] == [None, 0, 0, None, 3, None]
    assert found.warnings == ()


def test_what_cannot_be_decoded_is_listed_with_a_warning() -> None:
    found = inspect(HEVC / "streams" / "two_res_hm.hevc")
    assert len(found.frames) == len(TRUTH["streams/two_res_hm.hevc"]["frames"])
    assert all(frame.duplicate_of is None for frame in found.frames)
    assert len(found.warnings) == 1 and "duplicates are not listed" in found.warnings[0]


def test_unknown_qps_are_none_and_counted_in_one_warning() -> None:
    found = inspect(HEVC / "damaged" / "first_pps_missing.hevc", duplicates=False)
    assert [frame.qp for frame in found.frames[:10]] == [None] * 10
    assert all(frame.qp is not None for frame in found.frames[10:])
    assert len(found.warnings) == 1 and "10 of 33" in found.warnings[0]


@pytest.mark.parametrize("name", ["empty.hevc", "random.hevc", "text.hevc", "no_sps.hevc"])
def test_what_is_no_video_is_an_error(name: str) -> None:
    with pytest.raises(VqeError, match=name):
        inspect(HEVC / "damaged" / name)


def test_a_log_must_match(tmp_path: Path) -> None:
    stream, logs = HEVC / "streams" / "hm_ra_qp37.bin", HEVC / "logs"
    with pytest.raises(VqeError, match="does not match"):
        inspect(stream, hm_log=logs / "mismatch_hm_ra_qp37.dec.log")
    own = HEVC / "streams" / "hm_ra_idr_qp37.bin"
    found = inspect(own, hm_log=logs / "hm_ra_idr_qp37.enc.log", duplicates=False)
    assert [frame.qp for frame in found.frames] == [
        row[6][0] for row in TRUTH["streams/hm_ra_idr_qp37.bin"]["frames"]
    ]
