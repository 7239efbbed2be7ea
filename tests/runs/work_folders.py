"""Short videos enhanced in short segments, and what their work folders hold."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from small_clips import Planes, clip, moving_picture, write
from tiny_weights import write_tiny

from vqe_cli.runs.journal import Journal
from vqe_cli.runs.run import enhance
from vqe_cli.runs.settings import Settings
from vqe_cli.video.coded import read_coded

SIZE = {"width": 48, "height": 32}


def pictures() -> list[Planes]:
    """Three scenes of 13, 9 and 14 frames; in the first two pictures are shown longer."""
    first = [moving_picture(index, **SIZE) for index in (0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7, 8, 9)]
    second = [(16 + luma // 4, *chroma) for luma, *chroma in clip(9, **SIZE, start=500)]
    third = [(170 + luma // 4, *chroma) for luma, *chroma in clip(14, 1.0, **SIZE, start=900)]
    return [*first, *second, *third]


def write_input(path: Path) -> Path:
    """These pictures as HEVC with a random access picture every four frames."""
    options = {"x265-params": "log-level=none:qp=30:keyint=4:min-keyint=4:scenecut=0:bframes=0"}
    return write(path, pictures(), codec="libx265", options=options)


def write_all(folder: Path) -> Path:
    """Input, weights, and the file `alone.mkv` of a run in this process."""
    write_input(folder / "in.mkv")
    write_tiny(folder / "tiny.safetensors")
    enhance(settings_for(folder / "in.mkv", folder / "alone.mkv", folder / "tiny.safetensors"))
    return folder


def settings_for(source: Path, output: Path, weights: Path, **chosen) -> Settings:
    options = {"device": "cpu", "precision": "fp32", "chunk": 4, "segment": 8, **chosen}
    return Settings(source, output, weights=(weights,), **options)


def frame_hashes(path: Path) -> list[tuple[int, str]]:
    """The time and a hash of every picture, decoded by PyAV alone."""
    with av.open(str(path)) as container:
        return [(frame.pts, _hash(frame)) for frame in container.decode(video=0)]


def hashes_of_segments(journal: Journal, codec: str, header: bytes) -> list[str]:
    """The pictures of all segments, each decoded by a decoder of its own."""
    found = []
    for number in sorted(journal.finished):
        decoder = av.CodecContext.create(codec, "r")
        decoder.extradata = header or None
        decoder.width, decoder.height = SIZE["width"], SIZE["height"]
        for coded in read_coded(journal.file_of(number)):
            found += decoder.decode(av.Packet(coded.data))
        found += decoder.decode(None)
    return [_hash(frame) for frame in found]


def interrupting(at: int) -> Callable[[object], None]:
    """A listener that presses Ctrl-C when so many frames are done."""

    def listen(event: object) -> None:
        if getattr(event, "frames", None) == at and hasattr(event, "total"):
            raise KeyboardInterrupt

    return listen


def _hash(frame: av.VideoFrame) -> str:
    return hashlib.sha1(np.ascontiguousarray(frame.to_ndarray())).hexdigest()
