"""What is wrong with a file that can still be read: counted while reading, said in one sentence at the
end.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

# Writers round durations; what is missing beyond this much is missing.
TOLERANCE_S = 0.5


@dataclass
class Damage:
    """corrupt: shown pictures that FFmpeg calls damaged or without a reference. undecodable: packets that
    give no picture. unreadable: FFmpeg's words where the container cannot be read on. packets, end_s: how
    many packets came, and when the last of them ends, in seconds of the stream's clock.
    """

    corrupt: int = 0
    undecodable: int = 0
    unreadable: str = ""
    packets: int = 0
    end_s: float = 0.0
    missing: str = ""

    def compare(self, container: InputContainer, stream: VideoStream) -> None:
        """At the end of the stream: notes what the headers promise and did not come."""
        promised_s = _promised_end_s(container, stream)
        if stream.frames > self.packets:
            self.missing = f"it ends after {self.packets} of {stream.frames} pictures"
        elif promised_s is not None and self.packets and promised_s - self.end_s > TOLERANCE_S:
            self.missing = f"it ends at {self.end_s:.2f} of {promised_s:.2f} seconds"

    def sentences(self, path: Path) -> list[str]:
        """Nothing for an intact file, else one sentence."""
        found = []
        if self.corrupt:
            found.append(f"{_count(self.corrupt, 'picture')} shown although damaged or without reference")
        if self.undecodable:
            found.append(f"{_count(self.undecodable, 'packet')} left out that cannot be decoded")
        if self.unreadable:
            found.append(f"reading stops early ({self.unreadable})")
        if self.missing:
            found.append(self.missing)
        return [f"{path} is damaged: {', '.join(found)}"] if found else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _promised_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """When the headers say that the video ends, None where they do not (Matroska: a tag of the stream)."""
    told = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "").strip("\0 "))
    if told:
        hours, minutes, seconds = told.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if len(container.streams) == 1 and container.duration and "matroska" in container.format.name:
        return container.duration / av.time_base
    return None
