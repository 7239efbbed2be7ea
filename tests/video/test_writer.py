"""The writer: what must survive from input to output, and what is refused before the run."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import shared_path
from full_disk import fill_disk
from tiny_clips import make_clip, output_to, picture, rewrite

from vqe_cli.errors import VqeError
from vqe_cli.video import container
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.hdr import content_light, mastering_display
from vqe_cli.video.reader import Reader
from vqe_cli.video.targets import Encoding, Output
from vqe_cli.video.writer import Writer

HDR = (
    "chromaloc=2:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
)


def read(path: Path) -> tuple[VideoInfo, list[Frame]]:
    with Reader(path) as reader:
        return reader.info, list(reader)


def times(info: VideoInfo, frames: list[Frame]) -> list[float]:
    return [float(frame.pts * info.time_base) for frame in frames if frame.pts is not None]


def packets(path: Path, kind: str) -> list[tuple[bytes, float]]:
    """The content and time of each packet of the first stream of a kind, read by FFmpeg alone."""
    with av.open(str(path)) as container:
        [stream] = [stream for stream in container.streams if stream.type == kind][:1]
        found = [packet for packet in container.demux(stream) if packet.size]
        return [(bytes(each), float((each.pts or 0) * (each.time_base or 0))) for each in found]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("ffv1", ".mkv"), ("ffv1", ".mp4"), ("libx265", ".mkv"), ("libx265", ".mp4"), ("libx265", ".mov")],
)
@pytest.mark.parametrize(
    "name",
    [
        "hm_ra_qp37.ts",
        "hm_ra_qp37_cracut.mkv",
        "x265_crf28_aac.mp4",
        "x265_crf28_delay2.mp4",
        "x265_crf28_start5.mkv",
        "x265_crf28_vfr.mkv",
        "x265_main10.mkv",
        "x265_norepeat_editlist.mp4",
    ],
)
def test_times_sound_and_samples_survive(tmp_path: Path, name: str, suffix: str, codec: str) -> None:
    source, output = shared_path("hevc/containers") / name, tmp_path / f"out{suffix}"
    options = {"preset": "ultrafast"} if codec == "libx265" else {}
    info, frames, warnings = rewrite(source, output, codec=codec, options=options)
    written, shown = read(output)
    assert warnings == []
    assert np.allclose(times(written, shown), times(info, frames), atol=6e-4)
    assert (written.width, written.height, written.pix_fmt) == (info.width, info.height, info.pix_fmt)
    assert written.tags["matrix"] == info.tags["matrix"]
    if suffix != ".mkv":
        assert written.time_base == info.time_base
        assert written.duration_s == pytest.approx(
            times(info, frames)[-1] - times(info, frames)[0] + 0.04, abs=0.012
        )
    for frame, other in zip(frames, shown, strict=True):
        for plane, result in zip(frame.planes, other.planes, strict=True):
            if codec == "ffv1":
                assert np.array_equal(result, plane)
            else:
                assert np.abs(result.astype(int) - plane).mean() < 2 * plane.itemsize**2
    if "aac" in name:
        before, after = packets(source, "audio"), packets(output, "audio")
        assert [content for content, _ in after] == [content for content, _ in before]
        assert np.allclose([time for _, time in after], [time for _, time in before], atol=6e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
@pytest.mark.parametrize(("pix_fmt", "suffix"), [("yuv420p", ".mkv"), ("yuv420p10le", ".mp4")])
def test_short_videos_are_complete(tmp_path: Path, pix_fmt: str, suffix: str, count: int) -> None:
    """x265 gives no decoding times to videos of fewer pictures than it may reorder."""
    source = make_clip(tmp_path / "short.mkv", pix_fmt=pix_fmt, count=count)
    info, frames, _ = rewrite(source, tmp_path / f"out{suffix}")
    written, shown = read(tmp_path / f"out{suffix}")
    assert times(written, shown) == pytest.approx(times(info, frames))
    assert written.duration_s == pytest.approx(count * 0.04, abs=1e-3)


@pytest.mark.parametrize(
    ("pix_fmt", "size", "codec"),
    [
        ("yuv420p", (16, 16), "hevc"),
        ("yuv420p", (40, 40), "hevc"),  # a width at which x265 would write past its arrays
        ("yuv420p", (33, 17), "ffv1"),
        ("yuv420p", (7, 5), "ffv1"),
        ("yuv444p10le", (33, 17), "hevc"),
        ("yuv422p10le", (34, 18), "hevc"),
        ("gray", (34, 18), "hevc"),
        ("gray10le", (34, 18), "hevc"),
        ("gbrp10le", (34, 18), "hevc"),
        ("yuv420p16le", (32, 32), "ffv1"),
    ],
)
def test_any_size_depth_and_chroma_is_kept(
    tmp_path: Path, pix_fmt: str, size: tuple[int, int], codec: str
) -> None:
    source = make_clip(tmp_path / "odd.nut", pix_fmt=pix_fmt, size=size, count=3)
    _, frames, warnings = rewrite(source, tmp_path / "out.mkv")
    written, shown = read(tmp_path / "out.mkv")
    assert (written.codec, written.pix_fmt, written.width, written.height) == (codec, pix_fmt, *size)
    assert len(shown) == len(frames)
    assert (len(warnings) == 1) == (codec == "ffv1")  # that x265 cannot, and what was taken instead


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx265", ".mkv"), ("libx265", ".mp4"), ("ffv1", ".mkv"), ("ffv1", ".mp4")]
)
def test_hdr_metadata_and_rotation_survive(tmp_path: Path, codec: str, suffix: str) -> None:
    source = tmp_path / "hdr.mkv"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx265", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        stream.set_display_rotation(90)
        stream.options = {"x265-params": f"log-level=none:cutree=0:{HDR}"}
        for number in range(3):
            output.mux(stream.encode(picture("yuv420p10le", 64, 48, number, 24)))
        output.mux(stream.encode(None))
    info, _, warnings = rewrite(source, tmp_path / f"out{suffix}", codec=codec)
    written, _ = read(tmp_path / f"out{suffix}")
    assert warnings == []
    told_tags = {"primaries": 9, "transfer": 16, "matrix": 9, "range": 1, "chroma_location": 3}
    if codec != "libx265":
        told_tags.pop("chroma_location")  # PyAV does not read it from containers
    assert info.colour.siting == "topleft"
    assert written.tags == told_tags
    assert (written.rotation_deg, written.display_matrix) == (90, info.display_matrix)
    assert content_light(written.side_data) == (1000, 400)
    told = mastering_display(written.side_data)
    assert told is not None
    assert [float(value) for value in (*told.red, *told.white)] == pytest.approx(
        [0.68, 0.32, 0.3127, 0.329], abs=2e-5
    )
    assert (float(told.maximum), float(told.minimum)) == pytest.approx((1000, 0.005), abs=1e-4)


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(64, 45), Fraction(1, 2)])
@pytest.mark.parametrize(("codec", "suffix"), [("libx265", ".mkv"), ("ffv1", ".mkv"), ("ffv1", ".mp4")])
def test_pixel_aspect_survives(tmp_path: Path, codec: str, suffix: str, aspect: Fraction) -> None:
    for matrix in (1, 2):
        tags = {"colorspace": matrix, "color_primaries": matrix, "color_trc": matrix}
        source = make_clip(tmp_path / "in.mp4", "libx264", count=2, sample_aspect_ratio=aspect, **tags)
        rewrite(source, tmp_path / f"out{suffix}", codec=codec, overwrite=True)
        written, shown = read(tmp_path / f"out{suffix}")
        assert (written.sample_aspect, written.tags["matrix"], len(shown)) == (aspect, matrix, 2)
        assert written.side_data == {}


def make_rich(path: Path) -> Path:
    """A film with sound, subtitles, a font, a cover, chapters and titles."""
    subtitles = path.with_suffix(".srt")
    subtitles.write_text(
        "1\n00:00:00,100 --> 00:00:00,300\nhello\n\n2\n00:00:00,500 --> 00:00:00,900\nworld\n"
    )
    cover = av.CodecContext.create("png", "w")
    cover.width, cover.height, cover.pix_fmt, cover.time_base = 16, 16, "rgb24", Fraction(1, 25)  # type: ignore[attr-defined]
    png = b"".join(bytes(packet) for packet in cover.encode(av.VideoFrame(16, 16, "rgb24")))  # type: ignore[attr-defined]
    with av.open(str(path), "w") as output, av.open(str(subtitles)) as spoken:
        video = output.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream("flac", rate=48000)
        text = output.add_stream_from_template(spoken.streams[0])
        for stream, language in ((video, "deu"), (sound, "eng"), (text, "fra")):
            stream.metadata["language"] = language
        output.add_attachment("font.ttf", "application/x-truetype-font", b"\1\2\3" * 100)
        output.add_attachment("cover.png", "image/png", png)
        output.metadata["title"] = "The film"
        second = {"time_base": Fraction(1, 1000), "metadata": {"title": "two"}}
        output.set_chapters(
            [{"id": 1, "start": 0, "end": 500, **second}, {"id": 2, "start": 500, "end": 1000, **second}]
        )
        for number in range(24):
            output.mux(video.encode(picture("yuv420p", 64, 48, number, 24)))
            tone = av.AudioFrame(format="s16", layout="stereo", samples=2000)
            tone.sample_rate, tone.pts = 48000, number * 2000
            output.mux(sound.encode(tone))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))
        for packet in spoken.demux():
            if packet.size:
                packet.stream = text
                output.mux(packet)
    return path


def test_all_other_streams_chapters_and_titles_are_copied(tmp_path: Path) -> None:
    source, output = make_rich(tmp_path / "film.mkv"), tmp_path / "out.mkv"
    rewrite(source, output)
    for kind in ("audio", "subtitle"):
        assert packets(output, kind) == packets(source, kind)
    with av.open(str(source)) as before, av.open(str(output)) as after:
        assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
        assert [stream.language for stream in after.streams] == [stream.language for stream in before.streams]
        assert [stream.disposition for stream in after.streams] == [
            stream.disposition for stream in before.streams
        ]
        assert [stream.data for stream in after.streams.attachments] == [b"\1\2\3" * 100]
        assert after.chapters() == before.chapters()
        assert after.metadata["title"] == "The film"


def test_a_part_takes_its_sound_with_it(tmp_path: Path) -> None:
    source, output = make_rich(tmp_path / "film.mkv"), tmp_path / "part.mkv"
    with (
        Reader(source, start=12, frames=6) as reader,
        Writer(Output(output, part=True), reader.info) as writer,
    ):
        for frame in reader:
            writer.write(frame.planes, frame)
    written, frames = read(output)
    assert times(written, frames) == pytest.approx([number / 24 for number in range(6)], abs=2e-3)
    sound = packets(output, "audio")
    whole = packets(source, "audio")
    inside = [(content, time - 0.5) for content, time in whole if 0.5 <= time <= 0.75]
    assert [content for content, _ in sound] == [content for content, _ in inside]
    assert [time for _, time in sound] == pytest.approx([time for _, time in inside], abs=2e-3)


def test_a_scaled_video_is_larger_and_nothing_else(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "small.mkv", count=3)
    with (
        Reader(source) as reader,
        Writer(Output(tmp_path / "large.mkv", Encoding("ffv1"), scale=2), reader.info) as writer,
    ):
        for frame in reader:
            writer.write([plane.repeat(2, 0).repeat(2, 1) for plane in frame.planes], frame)
    written, frames = read(tmp_path / "large.mkv")
    assert (written.width, written.height, len(frames), written.rate) == (128, 96, 3, 25)


def test_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = make_rich(tmp_path / "film.mkv")
    (tmp_path / "there.mkv").write_bytes(b"something")
    (tmp_path / "folder.mkv").mkdir()
    with Reader(source) as reader:
        info = reader.info
    cases: list[tuple[str, dict[str, object], str]] = [
        ("film.mkv", {"overwrite": True}, "input itself"),
        ("there.mkv", {}, "exists already"),
        ("missing/out.mkv", {}, "does not exist"),
        ("out.xyz", {}, r"\.xyz"),
        ("out.jpg", {}, "PNG only"),
        ("out.mp4", {}, r"stream #2 of the input \(subtitle, srt\)"),
        ("out.mkv", {"codec": "nosuch"}, "no encoder named nosuch"),
        ("out.mkv", {"codec": "flac"}, "not a video encoder"),
        ("out.mkv", {"pix_fmt": "nosuch"}, "no pixel format named nosuch"),
        ("out.mkv", {"pix_fmt": "yuv411p", "codec": "libx265"}, "cannot write yuv411p"),
        ("out.mkv", {"options": {"nosuch": "1"}}, "does not know the option nosuch"),
        ("out.mkv", {"options": {"preset": "nosuch"}}, "preset=nosuch"),
        ("out.mkv", {"codec": "ffv1", "crf": 12}, "no quality that --crf"),
        ("out.webm", {}, "webm files cannot hold"),
    ]
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for name, settings, reason in cases:
        with pytest.raises(VqeError, match=reason) as caught:
            Writer(output_to(tmp_path / name, **settings), info)
        assert caught.value.remedy
        assert sorted(path.name for path in tmp_path.rglob("*")) == before
    odd = replace(info, width=63)
    with pytest.raises(VqeError, match="63x48") as caught:
        Writer(Output(tmp_path / "out.mkv", Encoding("libx265")), odd)
    assert "ffv1" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", count=1)
    (tmp_path / "locked").mkdir(mode=0o500)
    with Reader(source) as reader, pytest.raises(VqeError, match="cannot be written to"):
        Writer(Output(tmp_path / "locked" / "out.mkv"), reader.info)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def fail() -> None:
    raise RuntimeError("the network")


@pytest.mark.parametrize(("stop", "error"), [(interrupt, KeyboardInterrupt), (fail, RuntimeError)])
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.y4m", "images"])
def test_nothing_half_written_stays(
    tmp_path: Path, name: str, stop: Callable[[], None], error: type[BaseException]
) -> None:
    source = make_clip(tmp_path / "in.mkv")
    with (
        pytest.raises(error),
        Reader(source) as reader,
        Writer(Output(tmp_path / name), reader.info) as writer,
    ):
        for frame in reader:
            writer.write(frame.planes, frame)
            if frame.index == 3:
                stop()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv")
    output = tmp_path / "out.mkv"
    output.write_bytes(b"old")
    with (
        pytest.raises(RuntimeError),
        Reader(source) as reader,
        Writer(Output(output, overwrite=True), reader.info),
    ):
        fail()
    assert output.read_bytes() == b"old"
    rewrite(source, output, overwrite=True)
    assert len(read(output)[1]) == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.y4m"])
def test_a_full_disk_is_said_so(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "in.mkv", size=(256, 256), count=12)
    fill_disk(monkeypatch)
    with pytest.raises(VqeError, match="disk is full"):
        rewrite(source, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"in.mkv"}


@pytest.mark.parametrize("output", ["out.mkv", "out.y4m", "out/%03d.png"])
def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path, output: str) -> None:
    source, place = make_clip(tmp_path / "in.mkv"), tmp_path / output
    theirs = tmp_path / output.replace("%03d", "002")
    with (
        pytest.raises(VqeError, match="overwrite") as caught,
        Reader(source) as reader,
        Writer(Output(place), reader.info) as writer,
    ):
        for frame in reader:
            writer.write(frame.planes, frame)
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_bytes(b"theirs")
    assert str(theirs) in str(caught.value)
    assert theirs.read_bytes() == b"theirs"
    left = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {source.relative_to(tmp_path), theirs.relative_to(tmp_path)}
    rewrite(source, place, overwrite=True)
    assert theirs.read_bytes() != b"theirs"


@pytest.mark.parametrize("output", ["out.mkv", "out.y4m", "out/%03d.png"])
def test_what_is_planted_is_not_touched(tmp_path: Path, output: str) -> None:
    source, place = make_clip(tmp_path / "in.mkv", count=2), tmp_path / output
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    planted = tmp_path / f".{Path(output).parts[0]}.part"
    planted.symlink_to(victim)
    rewrite(source, place)
    assert planted.is_symlink() and victim.read_bytes() == b"theirs"
    planted.unlink()
    planted.mkdir()
    (planted / "precious").write_bytes(b"theirs")
    rewrite(source, place, overwrite=True)
    assert (planted / "precious").read_bytes() == b"theirs"


def test_the_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_clip(tmp_path / "in.mkv")
    synced: list[tuple[bool, bool]] = []

    def noting(descriptor: int) -> None:
        folder = os.path.samestat(os.fstat(descriptor), tmp_path.stat())
        synced.append((folder, (tmp_path / "out.mkv").exists()))

    monkeypatch.setattr(os, "fsync", noting)
    rewrite(source, tmp_path / "out.mkv")
    assert (False, False) in synced and (True, True) in synced


def test_decoding_times_never_lie_behind_showing() -> None:
    coded = [0, 4, 2, 1, 3]
    made = []
    for pts in coded:
        packet = av.Packet(1)
        packet.pts = pts * 10
        made.append(packet)
    ordered = container.in_decoding_order(made)
    decoding = [packet.dts or 0 for packet in ordered]
    assert decoding == sorted(set(decoding))
    assert all(dts <= pts * 10 for dts, pts in zip(decoding, coded, strict=True))
