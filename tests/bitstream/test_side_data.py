"""QPs that FFmpeg's decoders export for other codecs."""

import io
import json

import av
import numpy as np
import pytest
from conftest import shared_path
from hevc_truth import COPIED, COPIES, file, names

from vqe_cli.bitstream import side_data


def expected(name: str) -> tuple[str | None, list[float | None]]:
    if (COPIES / name).exists():
        return COPIED[name]["type"], COPIED[name]["frames"]
    entry = json.loads(shared_path(f"hevc/{name}.json").read_text())
    return entry["enc_params_type"], [frame["mean_qp"] for frame in entry["frames"]]


@pytest.mark.parametrize("name", names("other"))
def test_exported_qps(name: str):
    kind, qps = expected(name)
    with av.open(str(file(name))) as container:
        video = container.streams.video[0]
        video.codec_context.options = side_data.EXPORT_OPTION
        found = [side_data.frame_qp(frame) for frame in container.decode(video)]
    assert [qp for qp, _ in found] == [None if qp is None else pytest.approx(qp, abs=1e-4) for qp in qps]
    feeds_networks = kind is not None and kind.startswith("H264")
    assert [told for _, told in found] == [qp if feeds_networks else None for qp, _ in found]


def test_frames_without_side_data_are_unknown():
    with av.open(str(file("other/x264_crf28.mkv"))) as container:
        frame = next(container.decode(video=0))
    assert side_data.frame_qp(frame) == (None, None)


@pytest.mark.parametrize(("pix_fmt", "expected_qp"), [("yuv420p", 30), ("yuv420p10le", 18)])
def test_deep_h264_counts_from_the_scale_of_8_bits(pix_fmt: str, expected_qp: int):
    """x264 counts its qp from the lowest of the depth, -12: 30 is SliceQPY 18, as trace_headers says."""
    written = io.BytesIO()
    with av.open(written, "w", format="matroska") as container:
        options = {"qp": "30", "x264-params": "log-level=none:ipratio=1:pbratio=1"}
        video = container.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 64, pix_fmt
        noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
        for picture in noise:
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    written.seek(0)
    with av.open(written) as container:
        video = container.streams.video[0]
        video.codec_context.options = side_data.EXPORT_OPTION
        found = [side_data.frame_qp(frame) for frame in container.decode(video)]
    assert found == [(expected_qp, expected_qp)] * 3
