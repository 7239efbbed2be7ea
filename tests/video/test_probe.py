"""What a file says of itself."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from conftest import shared_path
from small_clips import clip, write
from tiny_clips import make_clip, picture

from vqe_cli.errors import VqeError
from vqe_cli.video.formats import colour_of, sample_format
from vqe_cli.video.probe import probe
from vqe_cli.video.reader import Reader

QUIET = {"x265-params": "log-level=none"}


def test_tags_aspect_rotation_and_hdr_are_told(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mkv"
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx265", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90)
        stream.options = {"x265-params": f"log-level=none:cutree=0:master-display={display}:max-cll=1000,400"}
        output.mux(stream.encode(picture("yuv420p10le", 64, 48, 0)))
        output.mux(stream.encode(None))
    info = probe(path)
    assert (info.codec, info.width, info.height, info.pix_fmt) == ("hevc", 64, 48, "yuv420p10le")
    assert info.tags == {"primaries": 9, "transfer": 16, "matrix": 9, "range": 1}
    assert (info.colour.matrix, info.colour.bit_depth, info.colour.guessed) == ("bt2020nc", 10, False)
    assert (info.sample_aspect, info.rotation_deg, info.rate) == (Fraction(4, 3), 90, 24)
    assert set(info.side_data) == {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"}


def test_the_container_says_what_the_pictures_do_not(tmp_path: Path) -> None:
    """The decoder forgets the container's colour tags at the first picture that has none."""
    plain = write(tmp_path / "plain.mkv", clip(3), matrix=2, codec="libx265", options=QUIET)
    told = tmp_path / "told.mkv"
    with av.open(str(plain)) as source, av.open(str(told), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        stream.codec_context.colorspace = 1
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    assert (probe(plain).colour.matrix, probe(plain).colour.guessed) == ("bt601", True)
    assert (probe(told).colour.matrix, probe(told).colour.guessed) == ("bt709", False)


def test_the_first_video_stream_is_it_and_covers_are_not() -> None:
    info = probe(shared_path("hevc/containers/two_video_streams.mkv"))
    assert (info.codec, info.stream_index, len(info.streams)) == ("hevc", 0, 2)


@pytest.mark.parametrize(
    ("height", "pix_fmt", "tags", "matrix", "guessed"),
    [
        (719, "yuv420p", {}, "bt601", True),
        (720, "yuv420p", {}, "bt709", True),
        (240, "yuv420p", {"matrix": 1}, "bt709", False),
        (1080, "yuv420p", {"matrix": 6}, "bt601", False),
        (2160, "yuv420p10le", {"matrix": 9}, "bt2020nc", False),
        (240, "gbrp", {"matrix": 0}, "rgb", False),
        (240, "gray10le", {}, "gray", False),
    ],
)
def test_untagged_video_is_601_below_720_lines(
    height: int, pix_fmt: str, tags: dict[str, int], matrix: str, guessed: bool
) -> None:
    colour = colour_of(tags, height, pix_fmt)
    assert (colour.matrix, colour.guessed) == (matrix, guessed)


def test_range_and_siting_come_from_tags_name_or_codec() -> None:
    assert colour_of({"range": 2}, 240, "yuv420p").full_range
    assert colour_of({}, 240, "yuvj420p").full_range
    assert not colour_of({}, 240, "yuv420p").full_range
    assert colour_of({}, 240, "yuvj420p", "mjpeg").siting == "center"
    assert colour_of({"chroma_location": 3}, 240, "yuv420p").siting == "topleft"


@pytest.mark.parametrize(
    ("pix_fmt", "planar", "bits"),
    [
        ("nv12", "yuv420p", 8),
        ("p010le", "yuv420p10le", 10),
        ("rgb24", "gbrp", 8),
        ("rgb48be", "gbrp16le", 16),
        ("pal8", "gbrp", 8),
        ("yuyv422", "yuv422p", 8),
        ("gray16be", "gray16le", 16),
        ("yuva420p", "yuv420p", 8),
    ],
)
def test_packed_formats_have_planar_twins(pix_fmt: str, planar: str, bits: int) -> None:
    samples = sample_format(pix_fmt)
    assert (samples.planar, samples.bit_depth) == (planar, bits)


@pytest.mark.parametrize("pix_fmt", ["gbrpf32le", "bayer_rggb8", "xyz12le", "cuda", "nosuch"])
def test_formats_without_planes_are_refused(pix_fmt: str) -> None:
    with pytest.raises(ValueError, match=pix_fmt):
        sample_format(pix_fmt)


def test_what_is_no_video_is_one_sentence_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty.mkv").write_bytes(b"")
    (tmp_path / "text.mkv").write_text("not a video\n" * 100)
    with av.open(str(tmp_path / "sound.mka"), "w") as output:
        stream = output.add_stream("flac", rate=48000)
        sound = av.AudioFrame(format="s16", layout="stereo", samples=1024)
        sound.sample_rate, sound.pts = 48000, 0
        output.mux(stream.encode(sound))
        output.mux(stream.encode(None))
    for name, reason in {
        "missing.mkv": "does not exist",
        "empty.mkv": "is empty",
        "text.mkv": "not a video",
        "sound.mka": "no video stream, only audio",
        ".": "is a folder",
    }.items():
        with pytest.raises(VqeError, match=reason) as caught:
            probe(tmp_path / name)
        assert str(tmp_path) in caught.value.message
        assert caught.value.remedy


def test_a_video_without_pictures_is_refused(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "none.mkv", codec="mjpeg", pix_fmt="yuvj420p", count=0)
    with pytest.raises(VqeError, match=r"none\.mkv"), Reader(path) as reader:
        list(reader)
