"""Videos with everything that may lie beside the pictures: sound, subtitles, data, attachments, chapters.

Each is seven seconds long, so that its first seconds and its last are two things.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from tiny_clips import picture

SECONDS, RATE, SOUND_RATE = 7, 5, 48000
MS = Fraction(1, 1000)
CHAPTERS = [
    {"id": 1, "start": 0, "end": 3000, "time_base": MS, "metadata": {"title": "one"}},
    {"id": 2, "start": 3000, "end": 7000, "time_base": MS, "metadata": {"title": "two"}},
]
# What is said when (milliseconds: from, to); nothing for the first seconds.
SPOKEN = [(500, 1500, "hello"), (3200, 4000, "in between"), (6100, 6900, "the end")]
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
ASS_FILE = ASS_HEADER + b"".join(
    f"Dialogue: 0,0:00:{begin / 1000:05.2f},0:00:{end / 1000:05.2f},Default,,0,0,0,,{text}\n".encode()
    for begin, end, text in SPOKEN
)
SRT_FILE = "".join(
    f"{number}\n00:00:0{begin // 1000},{begin % 1000:03d} --> 00:00:0{end // 1000},{end % 1000:03d}\n"
    f"{text}\n\n"
    for number, (begin, end, text) in enumerate(SPOKEN, 1)
).encode()

Extra = Callable[[OutputContainer], Callable[[], None] | None]


def make(path: Path, *extras: Extra, timecode: str | None = None, chapters: bool = False) -> Path:
    """A video in H.264 with these streams beside it."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.colorspace = 1
        if timecode:
            video.metadata["timecode"] = timecode
        if chapters:
            output.set_chapters(CHAPTERS)
        rest = [extra(output) for extra in extras]
        for number in range(SECONDS * RATE):
            output.mux(video.encode(picture("yuv420p", 64, 48, number, RATE)))
        output.mux(video.encode(None))
        for write in rest:
            if write is not None:
                write()
    return path


def sound(codec: str) -> Extra:
    """A tone of a second at a time."""

    def add(output: OutputContainer) -> Callable[[], None]:
        stream = output.add_stream(codec, rate=SOUND_RATE, layout="mono")
        stream.metadata["language"] = "eng"

        def write() -> None:
            wave = (8000 * np.sin(np.arange(SOUND_RATE) * 0.06)).astype(np.int16)
            resampler = av.AudioResampler(stream.codec_context.format, "mono", SOUND_RATE)
            for second in range(SECONDS):
                tone = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
                tone.sample_rate, tone.pts = SOUND_RATE, second * SOUND_RATE
                for part in resampler.resample(tone):
                    output.mux(stream.encode(part))
            output.mux(stream.encode(None))

        return write

    return add


def subtitles(kind: str, folder: Path) -> Extra:
    """ "srt" or "ass", copied from a file of that kind."""
    text = folder / f"spoken.{kind}"
    text.write_bytes(SRT_FILE if kind == "srt" else ASS_FILE)

    def add(output: OutputContainer) -> Callable[[], None]:
        spoken = av.open(str(text))
        stream = output.add_stream_from_template(spoken.streams[0])
        stream.metadata["language"] = "fra"

        def write() -> None:
            for packet in spoken.demux():
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
            spoken.close()

        return write

    return add


def packets(codec: str, contents: list[tuple[int, int, bytes]], base: Fraction = MS) -> Extra:
    """Packets as they are: from, to (milliseconds), content."""

    def add(output: OutputContainer) -> Callable[[], None]:
        data = codec in ("klv", "bin_data", "timed_id3")
        stream = output.add_data_stream(codec) if data else output.add_mux_stream(codec)
        stream.time_base = base

        def write() -> None:
            for begin, end, content in contents:
                packet = av.Packet(content)
                packet.time_base, packet.pts, packet.dts, packet.duration = MS, begin, begin, end - begin
                packet.stream, packet.is_keyframe = stream, True
                output.mux(packet)

        return write

    return add


def mov_text() -> Extra:
    """Timed text with pauses in between, as MP4 files hold it (3GPP TS 26.245)."""
    contents, now = [], 0
    for begin, end, text in SPOKEN:
        contents += [(now, begin, b"\0\0"), (begin, end, len(text).to_bytes(2, "big") + text.encode())]
        now = end
    return packets("mov_text", contents)


def font(output: OutputContainer) -> None:
    output.add_attachment("font.ttf", "application/x-truetype-font", b"\1\2\3" * 100)


def cover(output: OutputContainer) -> None:
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 16, 16, "rgb24", Fraction(1, 25)  # type: ignore[attr-defined]
    png = b"".join(bytes(packet) for packet in encoder.encode(av.VideoFrame(16, 16, "rgb24")))  # type: ignore[attr-defined]
    output.add_attachment("cover.png", "image/png", png)
