"""Standard input and output as videos: what comes through a pipe is read by several readers, and cannot be
sought in; what goes into one is written as it is made.
"""

import io
import os
import select
import sys
import threading
from pathlib import Path
from typing import BinaryIO
from weakref import WeakSet

from vqe_cli.errors import InputError, OutputError

STDIN, STDOUT = Path("/dev/stdin"), Path("/dev/stdout")
CHUNK_BYTES = 1 << 16
POLL_S = 0.2
# Boxes of an MP4 file before its index, in bytes, at most (ISO/IEC 14496-12).
BEFORE_INDEX = 1 << 20


class PipedInput:
    """A stream that any number of views read from its beginning, as long as `drop_passed` was not called;
    from then on memory holds what lies between the view that is furthest behind and the one ahead.

    Views may be read in different threads. stream: is read by nobody else.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        try:
            self._descriptor: int | None = stream.fileno()
        except (io.UnsupportedOperation, AttributeError):
            self._descriptor = None
        self._chunks: dict[int, bytes] = {}
        self._count = 0  # chunks that came
        self._ended = self._stopped = self._dropping = False
        self._lock, self._fetching = threading.Lock(), threading.Lock()
        self._views: WeakSet[PipeView] = WeakSet()

    def open(self) -> "PipeView":
        """A view at the beginning.

        Raises InputError where nothing comes, where the beginning is gone, and for an MP4 file with its index
        at the end.
        """
        if self._dropping:
            raise InputError(f"{STDIN} cannot be read a second time.", "Write the video to a file first.")
        if not self.chunk(0):
            raise InputError(f"{STDIN} gives nothing.", "See what the command says that writes to it.")
        if _index_is_last(PipeView(self)):
            raise InputError(
                f"{STDIN} is an MP4 file with its index at the end, which cannot be read from a pipe.",
                "Name the file itself, or pipe another kind: ffmpeg -i FILE -c copy -f nut -",
            )
        view = PipeView(self)
        with self._lock:
            self._views.add(view)
        return view

    def drop_passed(self) -> None:
        """From now on drops what all open views have passed; no more are opened."""
        self._dropping = True

    def stop(self) -> None:
        """Ends the stream for whoever waits for more of it."""
        self._stopped = True

    def chunk(self, number: int) -> bytes:
        """The bytes of that chunk, waited for; b"" behind the end."""
        while True:
            with self._lock:
                if number in self._chunks or self._ended:
                    return self._chunks.get(number, b"")
            with self._fetching:
                if number < self._count or self._ended:
                    continue  # somebody else has fetched it meanwhile
                fetched = self._fetch()
                with self._lock:
                    if fetched:
                        self._chunks[self._count] = fetched
                        self._count += 1
                    self._ended = not fetched

    def passed(self) -> None:
        """Called when a view has gone on to another chunk."""
        if not self._dropping:
            return
        with self._lock:
            least = min((view.number for view in self._views), default=self._count)
            for number in [each for each in self._chunks if each < least]:
                del self._chunks[number]

    def _fetch(self) -> bytes:
        if self._descriptor is None:
            return self.stream.read(CHUNK_BYTES)
        while os.name != "nt" and not self._stopped:  # Windows waits for sockets only
            if select.select([self._descriptor], [], [], POLL_S)[0]:
                break
        return b"" if self._stopped else os.read(self._descriptor, CHUNK_BYTES)


class PipeView:
    """What FFmpeg reads of a `PipedInput`; it cannot be sought in. number: of the chunk that it is in."""

    name = str(STDIN)

    def __init__(self, pipe: PipedInput) -> None:
        self._pipe, self.number, self._offset = pipe, 0, 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        chunk = self._pipe.chunk(self.number)
        part = chunk[self._offset : self._offset + size]
        self._offset += len(part)
        if chunk and self._offset == len(chunk):
            self.number, self._offset = self.number + 1, 0
            self._pipe.passed()
        return part


def _index_is_last(view: PipeView) -> bool:
    """Whether a stream is an MP4 or MOV file whose media data comes before its index."""
    position = 0
    while position < BEFORE_INDEX:
        head = _exactly(view, 8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if position == 0 and kind != b"ftyp":
            return False
        if kind in (b"mdat", b"moov") or len(head) < 8 or length < 8:
            return kind == b"mdat"
        _exactly(view, min(length, BEFORE_INDEX) - 8)
        position += length
    return False


def _exactly(view: PipeView, size: int) -> bytes:
    """So many bytes, fewer at the end."""
    parts = bytearray()
    while len(parts) < size:
        part = view.read(size - len(parts))
        if not part:
            break
        parts += part
    return bytes(parts)


_inputs: list[PipedInput] = []


def standard_input() -> PipedInput:
    """The process's standard input; raises InputError where it is closed or a terminal."""
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or stream.closed or sys.stdin.isatty():
        state = "a terminal" if stream is not None and not stream.closed else "closed"
        raise InputError(f"{STDIN} is {state}.", "Pipe a video into it: ffmpeg -i FILE -f nut - | vqe ...")
    if not _inputs or _inputs[0].stream is not stream:
        _inputs[:] = [PipedInput(stream)]
    return _inputs[0]


class StandardOutput:
    """Standard output, where others write a file aside: nothing lies aside, and nothing can be taken back.

    Raises OutputError where it is closed or a terminal; writing raises OSError.
    """

    def __init__(self) -> None:
        stream = getattr(sys.stdout, "buffer", None)
        if stream is None or sys.stdout.isatty():
            state = "closed" if stream is None else "a terminal"
            raise OutputError(
                f"{STDOUT} is {state}.", "Name a file, or pipe it: vqe enhance ... - | ffplay -"
            )
        sys.stdout.flush()
        # Not buffered: what is encoded is passed on, and nothing is left to be written when the reader ends.
        self._stream: BinaryIO = getattr(stream, "raw", stream)

    @property
    def place(self) -> "StandardOutput":
        """What is written to."""
        return self

    def write(self, content: bytes) -> int:
        """Writes all of it."""
        left = memoryview(content)
        while left:
            left = left[self._stream.write(left) :]
        return len(content)

    def publish(self) -> None:
        """All is there already."""

    def discard(self) -> None:
        """Nothing can be taken back."""
