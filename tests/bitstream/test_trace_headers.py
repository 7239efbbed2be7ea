"""A second witness: FFmpeg's own header parser (the `trace_headers` bitstream filter) on the same packets."""

import re
from pathlib import Path

import av
import av.logging
import pytest
from av.bitstream import BitStreamFilterContext
from hevc_truth import coded, file

WITNESSED = [
    *("hm_ldp_slices_dqp.bin", "hm_ldp_depslices.bin", "hm_ra_444.bin", "hm_ra_wp.bin", "hm_ra_vui_sei.bin"),
    *("hmx_ldb_ltr_sps.bin", "hmx_ra_listmod_wp.bin", "hmx_ra_picoutput.bin", "hm_ra_cracut.hevc"),
    *("hm_ldp_scalingfile.bin", "hm_ldb_400.bin", "x265_main12.hevc", "x265_wp.hevc", "x265_hrd_sei.hevc"),
]
FIELD = re.compile(r"\d+\s+(\w+)(?:\[.*\])?\s+[01]+ = (-?\d+)")


@pytest.mark.parametrize("name", WITNESSED)
def test_slices_agree_with_trace_headers(name: str):
    path = file(f"streams/{name}")
    expected = traced(path)
    pictures, _ = coded(path)
    assert len(expected) >= len(pictures) > 0
    assert [qp for picture in pictures for qp in picture.slice_qps] == expected


def traced(path: Path) -> list[int]:
    """SliceQpY of every independent slice in coding order, put together from FFmpeg's log."""
    init_qp: dict[int, int] = {}
    qps: list[int] = []
    pps_id = 0
    for field, value in logged_fields(path):
        if field in ("pps_pic_parameter_set_id", "slice_pic_parameter_set_id"):
            pps_id = value
        elif field == "init_qp_minus26":
            init_qp[pps_id] = 26 + value
        elif field == "slice_qp_delta":
            qps.append(init_qp[pps_id] + value)
    return qps


def logged_fields(path: Path) -> list[tuple[str, int]]:
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    skipped = av.logging.get_skip_repeated()
    av.logging.set_skip_repeated(False)
    try:
        with av.open(str(path)) as container, av.logging.Capture(local=True) as lines:
            video = container.streams.video[0]
            trace = BitStreamFilterContext("trace_headers", video)
            for packet in container.demux(video):
                if packet.size:
                    trace.filter(packet)
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skipped)
    found = [FIELD.match(message) for _, _, message in lines]
    return [(match[1], int(match[2])) for match in found if match]
