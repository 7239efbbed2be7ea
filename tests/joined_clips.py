"""Clips with sound whose clocks jump, and what is in the packets of files, read by FFmpeg alone."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from small_clips import moving_picture

from vqe_cli.video.formats import picture_of
from vqe_cli.video.reader import Reader
from vqe_cli.video.targets import Encoding, Output
from vqe_cli.video.writer import Writer

RATE, SOUND_RATE = 25, 48_000


def make_recording(path: Path, offset_s: float = 0, seconds: float = 1, codec: str = "mpeg2video") -> Path:
    """A short transport or program stream with B-frames and a tone, whose clock begins at `offset_s`."""
    with av.open(str(path), "w", options={"output_ts_offset": str(offset_s)}) as output:
        video = output.add_stream(codec, rate=RATE)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.max_b_frames, video.codec_context.gop_size = 2, 12
        sound = output.add_stream("mp2", rate=SOUND_RATE)
        for number in range(round(seconds * RATE)):
            picture = picture_of(moving_picture(number), "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            output.mux(video.encode(picture))
            output.mux(sound.encode(_tone(number)))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))
    return path


def _tone(number: int) -> av.AudioFrame:
    samples = SOUND_RATE // RATE
    wave = np.sin((np.arange(samples) + number * samples) / 20) * 8000
    frame = av.AudioFrame.from_ndarray(np.repeat(wave.astype(np.int16), 2)[None], "s16", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, number * samples, Fraction(1, SOUND_RATE)
    return frame


def joined(path: Path, parts: Sequence[Path]) -> Path:
    """The parts one behind the other, as `cat` joins them."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def packet_times(path: Path, kind: str) -> list[float]:
    """The times of showing of all packets of a kind, in the order of the file."""
    with av.open(str(path)) as container:
        [stream] = [stream for stream in container.streams if stream.type == kind]
        return [
            float(packet.pts * packet.time_base)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        ]


def steps(times: Sequence[float]) -> list[int]:
    """Milliseconds from each time to the next."""
    return [round(1000 * (after - before)) for before, after in pairwise(times)]


def rewrite(source: Path, output: Path) -> tuple[Path, list[str]]:
    """The file read and written as `enhance` does, without enhancing it; the output and all warnings."""
    with Reader(source) as reader, Writer(Output(output, Encoding("ffv1")), reader.info) as writer:
        for frame in reader:
            writer.write(frame.planes, frame)
    return output, [*reader.warnings, *writer.warnings]
