"""QPs that FFmpeg's decoders export for other codecs."""

import json

import av
import pytest
from conftest import shared_path
from hevc_truth import COPIED, COPIES, file, names

from vqe_cli.hevc import side_data


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
