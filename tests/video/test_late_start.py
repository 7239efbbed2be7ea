"""A part by its times is the same as cut out of the whole, and decoding begins shortly before it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import shared_path
from tiny_clips import make_clip

from vqe_cli.video import late_start, reader
from vqe_cli.video.frame import Frame
from vqe_cli.video.reader import Reader
from vqe_cli.video.times import Times

SHARED = [
    "x265_bpyr_opengop.mkv",
    "x265_bpyr_opengop.ts",
    "x265_bpyr_opengop.hvc1.mp4",
    "hm_ra_qp37_cracut.mkv",
    "hm_ldp_qp37.mkv",
]
MADE = {
    "h264.mkv": ("libx264", {"x264-params": "keyint=8:bframes=3:open-gop=1:log-level=none"}),
    "mpeg2.ts": ("mpeg2video", {"g": "8", "bf": "2"}),
    "h264.avi": ("libx264", {"x264-params": "keyint=8:bframes=0:log-level=none"}),
    "intra.mkv": ("ffv1", {}),
}


# Those with one key picture, and one whose packets have no pts.
BEGUN_EARLY = {"hm_ra_qp37_cracut.mkv", "hm_ldp_qp37.mkv", "h264.avi"}


def clip(name: str, folder: Path) -> Path:
    if name in SHARED:
        return shared_path(f"hevc/containers/{name}")
    codec, options = MADE[name]
    return make_clip(folder / name, codec, count=40, options=options)


def frames_of(path: Path, times: Times | None = None) -> tuple[list[Frame], list[str]]:
    with Reader(path) as opened:
        if times is not None:
            opened.keep(times)
        return list(opened), opened.warnings


@pytest.mark.parametrize("name", [*SHARED, *MADE])
def test_a_part_is_cut_out_of_the_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(name, tmp_path)
    whole, _ = frames_of(path)
    info = Reader(path).info
    decoded: list[object] = []

    def counting(*given: object) -> Iterator[object]:
        for packet in late_start.from_key_picture(*given):  # type: ignore[arg-type]
            decoded.append(packet)
            yield packet

    monkeypatch.setattr(reader, "from_key_picture", counting)
    for place in (0.3, 0.62, 0.95):
        number = int(place * len(whole))
        start_s = float((whole[number].pts - (info.start_pts or 0)) * info.time_base)
        decoded.clear()
        part, warnings = frames_of(path, Times(start_s))
        expected = whole[number:]
        assert [(frame.index, frame.pts, frame.qp, frame.irap) for frame in part] == [
            (frame.index, frame.pts, frame.qp, frame.irap) for frame in expected
        ]
        assert all(
            np.array_equal(one, other)
            for ours, theirs in zip(part, expected, strict=True)
            for one, other in zip(ours.planes, theirs.planes, strict=True)
        )
        assert not [text for text in warnings if "damaged" in text]
    if name not in BEGUN_EARLY:
        assert len(decoded) < len(whole) * 0.7


def test_a_file_with_one_key_picture_is_decoded_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More packets than are kept lie before the part: what is given is the same."""
    monkeypatch.setattr(late_start, "MOST_PACKETS", 5)
    path = make_clip(tmp_path / "in.mkv", "libx264", count=40, options={"x264-params": "keyint=100"})
    whole, _ = frames_of(path)
    part, _ = frames_of(path, Times(1.0))
    assert [frame.index for frame in part] == [frame.index for frame in whole[25:]]
