"""Coded pictures outside a container: what an encoder gave, kept in a file until its neighbours are there.

A container is no place for them: Matroska rounds times to milliseconds, and each would be described anew.
"""

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vqe_cli.files import Aside

# Times, duration (-1: unsaid), key picture or not, bytes that follow.
HEAD = struct.Struct("<qqBQ")


@dataclass(frozen=True)
class Coded:
    """One coded picture, in decoding order: a packet of video, a PNG file, or the planes of a .y4m frame.

    pts, duration: ticks of the input's time base (duration None when unsaid). keyframe: decoding may start
    here.
    """

    data: bytes
    pts: int
    duration: int | None = None
    keyframe: bool = True


class CodedFile:
    """Writes coded pictures aside, and under `path` when they are complete.

    `bytes`, `sha256` and `count` are of what was written. Raises OSError, as for a full disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = self.bytes = 0
        self._hash = hashlib.sha256()
        self._aside = Aside(path)
        self._file = self._aside.place.open("wb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def add(self, coded: Coded) -> None:
        """Appends one."""
        duration = -1 if coded.duration is None else coded.duration
        for part in (HEAD.pack(coded.pts, duration, coded.keyframe, len(coded.data)), coded.data):
            self._file.write(part)
            self._hash.update(part)
            self.bytes += len(part)
        self.count += 1

    def complete(self) -> None:
        """Forces what was written to the disk and gives it its name."""
        self._file.close()
        self._aside.publish()

    def discard(self) -> None:
        """Removes what was not completed."""
        with suppress(OSError):  # closing writes what is left, which a full disk does not take
            self._file.close()
        self._aside.discard()


def read_coded(path: Path) -> Iterator[Coded]:
    """The coded pictures of a complete file."""
    with path.open("rb") as file:
        while head := file.read(HEAD.size):
            pts, duration, keyframe, size = HEAD.unpack(head)
            yield Coded(file.read(size), pts, None if duration < 0 else duration, bool(keyframe))


def times_of(path: Path) -> Iterator[int]:
    """Their times alone."""
    with path.open("rb") as file:
        while head := file.read(HEAD.size):
            pts, _, _, size = HEAD.unpack(head)
            file.seek(size, os.SEEK_CUR)
            yield pts


def decoding_times(times: Sequence[int]) -> Iterator[int]:
    """When each of the pictures is to be decoded, for pictures shown at `times`, given in decoding order.

    The times of showing, sorted and moved back until no picture is decoded after it is shown: what encoders
    give, without the breaks that joining what several of them gave would leave where frames come at an
    uneven pace.
    """
    ordered = sorted(times)
    place = {time: position for position, time in enumerate(ordered)}
    late = max((position - place[time] for position, time in enumerate(times)), default=0)
    step = max(1, ordered[1] - ordered[0]) if len(ordered) > 1 else 1
    for position in range(len(ordered)):
        early = late - position
        yield ordered[0] - early * step if early > 0 else ordered[position - late]
