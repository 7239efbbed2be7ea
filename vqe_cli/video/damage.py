"""What is wrong with a file that can still be read: counted while reading, said in one sentence at the
end.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vqe_cli.video.pipes import STDIN

# Writers round durations; what is missing beyond this much is missing.
TOLERANCE_S = 0.5

EBML, SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")  # IDs of elements, RFC 8794 and RFC 9559


@dataclass
class Damage:
    """What went wrong while a file was read."""

    corrupt: int = 0
    """Shown pictures that FFmpeg calls damaged or without a reference."""

    undecodable: int = 0
    """Packets that give no picture."""

    unreadable: str = ""
    """FFmpeg's words where the container cannot be read on."""

    packets: int = 0
    """How many came."""

    end_s: float = 0.0
    """When the last of them ends, seconds of the stream's clock."""

    missing: str = ""
    """How much less there is than the header promises, in words."""

    left_out: int = 0
    """Pictures at the start whose key picture is missing; no damage of the file."""

    def compare(self, container: InputContainer, stream: VideoStream, path: Path) -> None:
        """At the end of the stream: notes packets that are in no file any more.

        What headers promise counts only where the file was cut short: writers count what an edit list hides,
        or what was never written.
        """
        if "mp4" in container.format.name:
            promised, promised_s = len(stream.index_entries), None
        elif path == STDIN or not is_cut_short(path):
            return
        else:
            promised, promised_s = stream.frames, _promised_end_s(container, stream)
        if promised > self.packets:
            self.missing = f"it ends after {self.packets} of {promised} pictures"
        elif promised_s is not None and self.packets and promised_s - self.end_s > TOLERANCE_S:
            self.missing = f"it ends at {self.end_s:.2f} of {promised_s:.2f} seconds"

    def sentences(self, path: Path) -> list[str]:
        """Nothing for an intact file, else one sentence on damage, and one on pictures that are left out."""
        found = []
        if self.corrupt:
            found.append(f"{_count(self.corrupt, 'picture')} shown although damaged or without reference")
        if self.undecodable:
            found.append(f"{_count(self.undecodable, 'packet')} left out that cannot be decoded")
        if self.unreadable:
            found.append(f"reading stops early ({self.unreadable})")
        if self.missing:
            found.append(self.missing)
        damaged = [f"{path} is damaged: {', '.join(found)}"] if found else []
        return damaged + left_out_sentence(path, self.left_out)


def left_out_sentence(path: Path, count: int) -> list[str]:
    """Nothing, or a sentence about so many pictures at the start that cannot be decoded."""
    if not count:
        return []
    first = "the first picture is" if count == 1 else f"the first {count} pictures are"
    return [f"{path}: {first} left out, because the key picture before is missing"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _promised_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """When the headers say that the video ends, None where they do not (Matroska: a tag of the stream)."""
    match = re.fullmatch(
        r"(\d{1,6}):(\d\d?):(\d\d?(?:\.\d+)?)", stream.metadata.get("DURATION", "").strip("\0 ")
    )
    if match:
        hours, minutes, seconds = match.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if len(container.streams) == 1 and container.duration and "matroska" in container.format.name:
        return container.duration / av.time_base
    return None


def is_cut_short(path: Path) -> bool:
    """Whether the file is shorter than the size that it begins with: of RIFF chunks (AVI), of EBML elements
    (Matroska). False for files that do not say their size.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        while position < size:
            file.seek(position)
            head = file.read(16)
            if head[:4] == b"RIFF":
                length = 8 + int.from_bytes(head[4:8], "little")
                length = size - position if length == 8 else length + length % 2
            elif head[:4] in (EBML, SEGMENT):
                length = _element_size(head) or size - position
            else:
                return False
            position += length
    return position > size + 1  # the byte that pads a RIFF chunk may be missing


def _element_size(head: bytes) -> int | None:
    """Bytes of an EBML element with an ID of four bytes, RFC 8794 section 6; None where it does not say."""
    length = 9 - int.from_bytes(head[4:5], "big").bit_length()
    if length > 8 or len(head) < 4 + length:
        return None
    number = int.from_bytes(head[4 : 4 + length], "big") & ((1 << 7 * length) - 1)
    return None if number == (1 << 7 * length) - 1 else 4 + length + number
