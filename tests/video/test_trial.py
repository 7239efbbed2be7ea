"""Whatever lies beside the pictures, into every container: it is there afterwards, or the run is refused
before the first frame with advice that works when it is followed.
"""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import rich_clips as rich
from conftest import DATA
from rich_clips import make, sound, subtitles
from tiny_clips import make_clip

from vqe_cli.errors import VqeError
from vqe_cli.video.reader import Reader
from vqe_cli.video.selection import later_timecode
from vqe_cli.video.targets import Encoding, Output
from vqe_cli.video.writer import Writer, dry_run

# A page without regions, and its end (ETSI EN 300 743, section 7.2).
DVB = bytes.fromhex("0f10000100020500 0f8000010000")
KLV = b"\x06\x0e\x2b\x34" + bytes(20)


def spoken(content: bytes) -> list[tuple[int, int, bytes]]:
    return [(begin, end, content) for begin, end, _ in rich.SPOKEN]


INPUTS: dict[str, Callable[[Path, Path], Path]] = {
    "aac.mp4": lambda path, folder: make(path, sound("aac")),
    "opus.mkv": lambda path, folder: make(path, sound("libopus")),
    "pcm.mov": lambda path, folder: make(path, sound("pcm_s16le")),
    "flac.mkv": lambda path, folder: make(path, sound("flac")),
    "aac.ts": lambda path, folder: make(path, sound("aac")),
    "mp3.avi": lambda path, folder: make(path, sound("libmp3lame")),
    "srt.mkv": lambda path, folder: make(path, sound("aac"), subtitles("srt", folder)),
    "ass.mkv": lambda path, folder: make(path, sound("libopus"), subtitles("ass", folder), rich.font),
    "mov_text.mp4": lambda path, folder: make(path, sound("aac"), rich.mov_text()),
    "dvb.ts": lambda path, folder: make(path, sound("aac"), rich.packets("dvb_subtitle", spoken(DVB))),
    "klv.ts": lambda path, folder: make(path, sound("aac"), rich.packets("klv", spoken(KLV))),
    "data.mp4": lambda path, folder: make(path, sound("aac"), rich.packets("bin_data", spoken(b"abc"))),
    "cover.mkv": lambda path, folder: make(path, sound("aac"), rich.cover),
    "chapters.mkv": lambda path, folder: make(path, sound("libopus"), chapters=True),
    "chapters.mp4": lambda path, folder: make(path, sound("aac"), chapters=True),
    "timecode.mov": lambda path, folder: make(path, sound("aac"), timecode="01:00:00:00"),
    # No container writes a track of these: drop frames need 29.97 a second.
    "odd_timecode.mkv": lambda path, folder: make(path, sound("aac"), timecode="10:00:00;00"),
    "no_timecode.mkv": lambda path, folder: make(path, sound("libopus"), timecode="noon"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    for name, made in INPUTS.items():
        made(folder / name, folder)
    return folder


def rewrite(source: Path, output: Path, codec: str | None = None) -> list[str]:
    """Reads and writes a video unchanged; gives the writer's warnings. What is refused is refused early."""
    fast = {"preset": "ultrafast"} if codec in (None, "libx264") else {}
    with (
        Reader(source) as reader,
        Writer(Output(output, Encoding(codec, options=fast)), reader.info) as writer,
    ):
        frames = list(reader)
        try:
            for frame in frames:
                writer.write(frame.planes, frame)
        except VqeError as error:
            pytest.fail(f"refused too late: {error}")
    return writer.warnings


def follow(error: VqeError, source: Path, output: Path) -> tuple[Path, Path, list[str]]:
    """Does what the remedy says; gives the input, the output and the warnings of that."""
    if found := re.search(r"(\.\w+) file", error.remedy):
        assert found[1] != output.suffix, "the container that was just refused"
        other = output.with_name(f"other{found[1]}")
        return source, other, rewrite(source, other)
    if found := re.search(r"--codec (\w[\w-]*)", error.remedy):
        return source, output, rewrite(source, output, found[1])
    command = error.remedy[error.remedy.index("ffmpeg") :]
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    subprocess.run(f"{command} -v error", shell=True, check=True, cwd=output.parent)
    made = next(output.parent.glob("WITHOUT_IT*"))
    return made, output, rewrite(made, output)


Held = Counter[tuple[str, str, tuple[bytes, ...]]]


def held(path: Path, leave_out: set[int]) -> tuple[Held, int]:
    """What streams there are beside the first video: kind, codec, contents; and the number of chapters."""
    found: Held = Counter()
    with av.open(str(path)) as container:
        contents: dict[int, list[bytes]] = {stream.index: [] for stream in container.streams}
        attached = [stream for stream in container.streams if stream.type == "attachment"]
        for packet in container.demux([each for each in container.streams if each not in attached]):
            if packet.size:
                contents[packet.stream_index].append(bytes(packet))
        for stream in container.streams:
            own = [stream.data] if stream in attached else contents[stream.index]
            codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
            if codec == "mov_text":
                own = [text for text in (each[2:] for each in own) if text]
                codec = "subrip"
            if stream.index in leave_out or (
                stream.type == "data" and ("timecode" in stream.metadata or not own)
            ):
                continue
            # Muxers put other headers before what some packets hold, and join packets of PCM.
            whole = codec in ("subrip", "ass", "png", "opus", "klv", "dvb_subtitle", "")
            found[stream.type, codec, tuple(own) if whole else ()] += 1
        return found, len(container.chapters())


def assert_held(source: Path, output: Path, warnings: list[str]) -> None:
    """All streams of the input are in the output, but for those that a warning names."""
    left_out = {
        int(number) for text in warnings if "left out" in text for number in re.findall(r"#(\d+)", text)
    }
    with av.open(str(source)) as container:
        assert all(container.streams[index].type in ("data", "video") for index in left_out)
        left_out.add(container.streams.video[0].index)
    with av.open(str(output)) as container:
        video = {container.streams.video[0].index}
    before, chapters = held(source, left_out)
    after, kept_chapters = held(output, video)
    assert not before - after, (before - after, after)
    assert kept_chapters == chapters or any("chapters" in text for text in warnings)
    told = timecodes(source)
    if told and not any("time code" in text for text in warnings):
        assert timecodes(output) >= told


def timecodes(path: Path) -> set[str]:
    with av.open(str(path)) as container:
        tags = [stream.metadata for stream in container.streams]
        return {value for each in tags for key, value in each.items() if key.lower() == "timecode"}


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts", ".webm", ".avi"])
@pytest.mark.parametrize("name", INPUTS)
def test_everything_beside_the_pictures_is_kept_or_refused(
    inputs: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    source, output = inputs / name, tmp_path / f"out{suffix}"
    for _ in range(3):  # a codec may be refused first, and then a stream
        try:
            warnings = rewrite(source, output, "libx264" if suffix == ".avi" else None)
            break
        except VqeError as error:
            assert output.name in error.message and error.remedy
            assert not list(tmp_path.iterdir()), "something was left"
            try:
                source, output, warnings = follow(error, source, output)
            except VqeError as again:
                pytest.fail(f"the advice does not work: {error.remedy} -> {again}")
            break
    assert_held(source, output, warnings)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts"])
def test_a_time_code_track_is_written_anew(tmp_path: Path, suffix: str) -> None:
    source, output = DATA / "cases" / "timecode.mov", tmp_path / f"out{suffix}"
    warnings = rewrite(source, output)
    with av.open(str(output)) as container:
        assert [stream.type for stream in container.streams][:2] == ["video", "audio"]
        tracks = [stream for stream in container.streams if stream.type == "data"]
    assert len(tracks) == (suffix in (".mp4", ".mov"))
    assert timecodes(output) == (set() if suffix == ".ts" else {"01:00:00:00"})
    assert any("time code" in text for text in warnings) == (suffix == ".ts")


def test_text_of_mp4_files_becomes_srt_in_matroska(tmp_path: Path) -> None:
    source, output = DATA / "cases" / "mov_text.mp4", tmp_path / "out.mkv"
    assert any("SRT" in text for text in rewrite(source, output))
    with av.open(str(output)) as container:
        [stream] = container.streams.subtitles
        texts = [
            (bytes(packet).decode(), packet.pts, packet.duration)
            for packet in container.demux(stream)
            if packet.size
        ]
    assert texts == [("Hello", 200, 700), ("World", 1000, 400)]


def test_a_part_has_the_time_code_of_its_first_picture(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "part.mov"
    with (
        Reader(inputs / "timecode.mov", start=7, frames=10) as reader,
        Writer(Output(output, part=True), reader.info) as writer,
    ):
        for frame in reader:
            writer.write(frame.planes, frame)
    assert timecodes(output) == {"01:00:01:2"}  # as FFmpeg writes it of five pictures a second


@pytest.mark.parametrize(
    ("code", "pictures", "rate", "then"),
    [
        ("01:00:00:00", 25, Fraction(25), "01:00:01:00"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("00:00:59;29", 1, Fraction(30000, 1001), "00:01:00;02"),
        ("00:09:59;29", 1, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:00;00", 17982, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("00:00:59:29", 1, Fraction(30000, 1001), "00:01:00:00"),
        ("01:00:00:4", 2, Fraction(5), "01:00:01:1"),
        ("noon", 5, Fraction(25), "noon"),
        ("01:00:00:00", 5, None, "01:00:00:00"),
    ],
)
def test_time_codes_count_pictures(code: str, pictures: int, rate: Fraction | None, then: str) -> None:
    assert later_timecode(code, pictures, rate) == then


def with_backward_times(source: Path, path: Path) -> Path:
    """Ten packets of sound in the middle are set back by a tenth of a second (RFC 9559, section 10.2)."""
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        sounds = [bytes(each) for each in container.demux(container.streams.audio[0]) if each.size]
    for sample in sounds[200:210]:
        at = content.index(sample) - 3
        moved = int.from_bytes(content[at : at + 2], "big", signed=True) - 100
        content[at : at + 2] = moved.to_bytes(2, "big", signed=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_times_that_go_back_are_moved_on(inputs: Path, tmp_path: Path, suffix: str) -> None:
    source = with_backward_times(inputs / "opus.mkv", tmp_path / "back.mkv")
    assert sound_times(source) != sorted(sound_times(source))
    output = tmp_path / f"out{suffix}"
    warnings = rewrite(source, output)
    assert any("#1" in text for text in warnings)
    times = sound_times(output)
    assert times == sorted(times) and len(times) == len(sound_times(source))
    late = np.array(times) - np.maximum.accumulate(sound_times(source))
    assert np.ptp(late) < 0.11  # the whole file may begin at another time
    with Reader(output) as reader:
        assert len(list(reader)) == rich.SECONDS * rich.RATE


def with_pause(source: Path, path: Path, hours: int) -> Path:
    """The same video, with so long a pause in the middle of its sound."""
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        streams = [output.add_stream_from_template(stream, opaque=True) for stream in container.streams]
        for packet in sorted(
            (packet for packet in container.demux() if packet.size),
            key=lambda packet: (packet.dts or 0) + 10**9 * _is_late(packet),
        ):
            if _is_late(packet):
                packet.pts = packet.dts = round((packet.dts or 0) + hours * 3600 / packet.time_base)
            packet.stream = streams[packet.stream_index]
            output.mux(packet)
    return path


def _is_late(packet: av.Packet) -> bool:
    return packet.stream_index == 1 and (packet.dts or 0) * packet.time_base > 3.5


@pytest.mark.parametrize(("hours", "refused"), [(2, False), (14, True)])
def test_a_pause_that_a_container_cannot_say_is_refused(
    inputs: Path, tmp_path: Path, hours: int, refused: bool
) -> None:
    source = with_pause(inputs / "opus.mkv", tmp_path / "in.mkv", hours)
    output = tmp_path / "out.mp4"
    if refused:
        with pytest.raises(VqeError, match=r"pause of 14\.0 hours") as caught:
            rewrite(source, output)
        assert not output.exists()
        source, output, _ = follow(caught.value, source, output)
    else:
        rewrite(source, output)
    pauses = np.diff(sound_times(output))
    assert np.count_nonzero(pauses > 1) == 1 and pauses.max() == pytest.approx(hours * 3600, rel=1e-3)


def test_fine_time_bases_leave_room_for_pauses(tmp_path: Path) -> None:
    """At a million ticks a second MP4 files could pause for 35 minutes."""
    source = tmp_path / "fine.nut"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1_000_000)
        for number in range(4):
            shown = rich.picture("yuv420p", 64, 48, number)
            shown.pts, shown.time_base = (
                number * 40_000 + (number > 1) * 3_600_000_000,
                Fraction(1, 1_000_000),
            )
            output.mux(stream.encode(shown))
        output.mux(stream.encode(None))
    with Reader(source) as reader:
        info, frames = reader.info, list(reader)
    with Writer(Output(tmp_path / "out.mp4", Encoding("ffv1")), info) as writer:
        for frame in frames:
            writer.write(frame.planes, frame)
    with Reader(tmp_path / "out.mp4") as reader:
        written = [frame.pts * reader.info.time_base for frame in reader if frame.pts is not None]
    meant = [frame.pts * info.time_base for frame in frames if frame.pts is not None]
    assert np.allclose(np.diff(np.array(written, float)), np.diff(np.array(meant, float)), atol=1e-4)


def sound_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [
            float(each.dts * each.time_base)
            for each in container.demux(container.streams.audio[0])
            if each.size and each.dts is not None
        ]


def test_a_codec_that_the_container_loses_is_refused(tmp_path: Path) -> None:
    """FFmpeg writes FFV1 into transport streams without an error, and nothing can read it there."""
    source = make_clip(tmp_path / "in.mkv", count=2)
    with Reader(source) as reader:
        info = reader.info
    with pytest.raises(VqeError, match="ffv1") as caught:
        dry_run(Output(tmp_path / "out.ts", Encoding("ffv1")), info)
    assert ".mkv" in caught.value.remedy
    with pytest.raises(VqeError, match="webm") as caught:
        dry_run(Output(tmp_path / "out.webm"), info)
    assert ".mkv" in caught.value.remedy and "--codec libsvtav1" in caught.value.remedy


def test_avi_keeps_one_rate(tmp_path: Path) -> None:
    """The time base of other containers is far finer than AVI's, which counts frames."""
    source = make_clip(tmp_path / "in.mp4", "libx264", count=12)
    rewrite(source, tmp_path / "out.avi", "libx264")
    with av.open(str(tmp_path / "out.avi")) as container:
        video = container.streams.video[0]
        assert video.average_rate == 25
        packets = [packet for packet in container.demux(video) if packet.size]
        assert len(packets) == 12
        assert np.diff([packet.dts for packet in packets if packet.dts is not None]).tolist() == [1] * 11
