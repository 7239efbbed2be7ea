"""Encoders by name: what each is told of quality and depth, and what is refused where one is not there."""

import time
from pathlib import Path

import av
import pytest
from tiny_clips import make_clip, rewrite

from vqe_cli.errors import VqeError
from vqe_cli.video.encoder_names import OFFERED
from vqe_cli.video.encoders import available_encoders

SIZE = (256, 128)  # the smallest that DNxHR takes
# By encoder: codec in the file, suffix, a good and a poor CRF (None: no such option).
CASES = {
    "libx265": ("hevc", ".mkv", 8, 40),
    "libx264": ("h264", ".mp4", 8, 40),
    "libsvtav1": ("av1", ".mkv", 8, 55),
    "libvpx-vp9": ("vp9", ".webm", 8, 55),
    "hevc_nvenc": ("hevc", ".mkv", 8, 40),
    "hevc_qsv": ("hevc", ".mkv", 8, 40),
    "hevc_videotoolbox": ("hevc", ".mov", 8, 40),
    "prores_ks": ("prores", ".mov", 1, 12),
    "ffv1": ("ffv1", ".mkv", None, None),
    "dnxhd": ("dnxhd", ".mov", None, None),
}
TEN_BITS = tuple(name for name in OFFERED if name != "libvpx-vp9")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "in.mkv", size=SIZE, count=4)


def opened(name: str) -> None:
    if name not in available_encoders():
        pytest.skip(f"{name} does not work on this machine")


@pytest.mark.parametrize("name", OFFERED)
def test_an_encoder_writes_all_frames_and_obeys_crf(name: str, clip: Path, tmp_path: Path) -> None:
    opened(name)
    codec, suffix, good, poor = CASES[name]
    sizes = []
    for crf in (good, poor):
        output = tmp_path / f"{crf}{suffix}"
        _, frames, _ = rewrite(clip, output, codec=name, crf=crf, overwrite=True)
        with av.open(str(output)) as written:
            assert written.streams.video[0].codec_context.codec.canonical_name == codec
            assert sum(1 for _ in written.decode(video=0)) == len(frames)
        sizes.append(output.stat().st_size)
    if good is not None:
        assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.parametrize("name", TEN_BITS)
def test_ten_bits_where_asked(name: str, clip: Path, tmp_path: Path) -> None:
    opened(name)
    asked = "yuv422p10le" if name in ("prores_ks", "dnxhd") else "yuv420p10le"
    output = tmp_path / f"out{CASES[name][1]}"
    rewrite(clip, output, codec=name, pix_fmt=asked)
    with av.open(str(output)) as written:
        assert next(written.decode(video=0)).format.components[0].bits == 10


@pytest.mark.parametrize("name", ["dnxhd", "prores_ks", "libx264", "libsvtav1", "libx265"])
def test_a_video_of_ten_bits_keeps_them(name: str, tmp_path: Path) -> None:
    opened(name)
    deep = make_clip(tmp_path / "in.mkv", pix_fmt="yuv420p10le", size=SIZE, count=2)
    output = tmp_path / f"out{CASES[name][1]}"
    rewrite(deep, output, codec=name)
    with av.open(str(output)) as written:
        assert next(written.decode(video=0)).format.components[0].bits == 10


@pytest.mark.parametrize("name", ["hevc_nvenc", "hevc_qsv", "hevc_videotoolbox", "nosuch", "aac"])
def test_what_is_not_there_is_refused_with_what_is(name: str, clip: Path, tmp_path: Path) -> None:
    if name in available_encoders():
        pytest.skip(f"{name} is there")
    began = time.process_time()
    with pytest.raises(VqeError) as caught:
        rewrite(clip, tmp_path / "out.mkv", codec=name)
    assert time.process_time() - began < 1
    assert name in caught.value.message
    assert all(each in caught.value.remedy for each in available_encoders())
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize("name", ["dnxhd", "ffv1"])
def test_crf_is_refused_where_there_is_none(name: str, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(VqeError, match="--crf"):
        rewrite(clip, tmp_path / "out.mov", codec=name, crf=20.0)
