"""One clock for a whole file: where the time stamps of its packets jump, all streams go on together.

Recordings that were joined, clocks that wrap or were set anew make time stamps jump. Frames that lie around
such a place keep their distance: what follows is moved by the same offset in every stream, as FFmpeg's
stream copy does. The video decides where a jump is and by how much times are moved.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vqe_cli.video.clock import REORDERED
from vqe_cli.video.frame import DEFAULT_RATE

# Formats whose clocks may be set anew at any time (AVFMT_TS_DISCONT). In all others a gap is a gap, unless
# it is longer than any recording (FFmpeg's `-dts_error_threshold`).
MAY_JUMP = 0x0200
AHEAD, AHEAD_ELSEWHERE = Fraction(10), Fraction(108_000)
GENERATE_PTS = 0x0001  # AVFMT_FLAG_GENPTS, which PyAV sets
# Decoding times never decrease; less than this is jitter (FFmpeg's limit, too).
BACK = Fraction(1, 10)
# As far as coding may put pictures out of order: at least a second, and so many pictures.
REORDERED_S = Fraction(1)
# Time stamps of MPEG-2 systems (ISO/IEC 13818-1, 2.4.3.7) have 33 bits and a clock of 90 kHz.
WRAP = Fraction(2**33, 90_000)
# Sound goes on without a gap as long as the next packet is this near.
NEAR = Fraction(1)
# So many packets of video may come between a jump of sound and that of the video, or the other way round.
PATIENCE = 200
# Sound that overlaps at a seam by more is left out.
OVERLAP = Fraction(1, 2)


@dataclass
class Stretch:
    """Packets of video between two jumps: first and last decoding time, in seconds as they stand in the file,
    and by how many seconds they are moved.
    """

    first: Fraction
    last: Fraction
    shift: Fraction = Fraction(0)

    def distance(self, time: Fraction) -> Fraction:
        """How far a time lies outside."""
        return max(self.first - time, time - self.last, Fraction(0))


def timeline_of(container: InputContainer, stream: VideoStream) -> "Timeline":
    """The timeline of a container that nothing was read from yet.

    From now on FFmpeg makes up no pts for it: what it makes up from the packets around is wrong where more
    than one picture is put out of order.
    """
    container.flags &= ~GENERATE_PTS
    return Timeline(container, stream)


class Timeline:
    """Moves the packets of a video stream, given in the order of the file, so that they are on one clock."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        may_jump = bool(container.format.flags & MAY_JUMP)
        rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        self.ahead = AHEAD if may_jump else AHEAD_ELSEWHERE
        self._step = 1 / Fraction(rate)
        self._wraps = may_jump and stream.time_base == Fraction(1, 90_000)
        self.stretches: list[Stretch] = []
        self._due = self._end = Fraction(0)  # when the next packet is due, when all shown ones have ended

    def move(self, packet: Packet) -> None:
        """Moves the next packet of the video."""
        time = time_of(packet)
        if time is None:
            return
        base = packet.time_base
        shown = time if packet.pts is None else packet.pts * base
        if not self.stretches:
            self.stretches.append(Stretch(time, time))
            self._end = shown
        elif self._jumps(packet, time, shown):
            self.stretches.append(Stretch(time, time, self._shift(time, shown)))
            self._end = shown
        now = self.stretches[-1]
        now.last = time
        length = packet.duration * base if packet.duration else self._step
        self._due, self._end = time + length, max(self._end, shown + length)
        move(packet, now.shift)

    def _jumps(self, packet: Packet, time: Fraction, shown: Fraction) -> bool:
        """Whether the clock was set anew before this packet. Pictures of Matroska files have no decoding
        time of their own, so that coding order may look like a step back; a key picture never does.
        """
        before = self.stretches[-1].last
        if time - before > self.ahead:
            return True
        far_back = self._end - shown > max(REORDERED_S, REORDERED * self._step)
        return before - time > BACK and (packet.is_keyframe or far_back)

    def _shift(self, time: Fraction, shown: Fraction) -> Fraction:
        """By how much a stretch is moved that begins with these times (decoding, showing)."""
        before = self.stretches[-1].shift
        wrapped = self._due - time - WRAP
        if self._wraps and abs(wrapped) < BACK:
            return before + WRAP
        return before + max(self._due - time, self._end - shown)

    def sentences(self, path: Path) -> list[str]:
        """Nothing, or one sentence about the places where the clock jumps."""
        jumps = len(self.stretches) - 1
        if jumps < 1:
            return []
        one, other = self.stretches[:2]
        times = "once" if jumps == 1 else f"{jumps} times, first"
        return [
            f"{path}: the time stamps jump {times} from {float(one.last):.2f} to {float(other.first):.2f} "
            "seconds; all streams go on without a break there"
        ]


@dataclass
class _Stream:
    """Where a stream that follows the video is: the number of its stretch, its last time as it stands in the
    file, what it is moved by alone, and the last time that was given out.
    """

    stretch: int = 0
    last: Fraction | None = None
    alone: Fraction = Fraction(0)
    given: Fraction = Fraction(-(2**62))


class Followers:
    """The packets of other streams, moved as those of the video around them.

    timeline: of the video.
    """

    def __init__(self, timeline: Timeline, video: int) -> None:
        self._timeline, self._video = timeline, video
        self._streams: defaultdict[int, _Stream] = defaultdict(_Stream)
        self._waiting: defaultdict[int, deque[Packet]] = defaultdict(deque)
        self._patience = 0
        self._left_out = 0

    @property
    def bridged(self) -> bool:
        """Whether there was a jump so far."""
        return len(self._timeline.stretches) > 1

    def sentences(self, path: Path) -> list[str]:
        """Nothing, or one sentence about sound whose time was taken already; complete at the end."""
        if not self._left_out:
            return []
        return [f"{path}: {self._left_out} packets of sound are left out where recordings overlap"]

    def moved(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """All packets but those of the video. packets: of the video, too, in the order of the file."""
        for packet in packets:
            if packet.size == 0:
                continue
            if packet.stream_index != self._video:
                yield from self._moved(packet)
                continue
            jumps = len(self._timeline.stretches)
            self._timeline.move(packet)
            self._patience = max(0, self._patience - 1)
            if any(self._waiting.values()) and (len(self._timeline.stretches) > jumps or not self._patience):
                yield from self._released()
        yield from self._released()

    def _moved(self, packet: Packet) -> Iterator[Packet]:
        """The packet, unless it waits for the video's jump."""
        queue = self._waiting[packet.stream_index]
        if queue or not self._placed(packet):
            if not any(self._waiting.values()):
                self._patience = PATIENCE
            queue.append(packet)
        elif self._settle(packet):
            yield packet

    def _released(self) -> Iterator[Packet]:
        """The packets that waited."""
        for queue in self._waiting.values():
            while queue:
                packet = queue.popleft()
                if not self._placed(packet):
                    self._go_alone(packet)
                if self._settle(packet):
                    yield packet

    def _placed(self, packet: Packet) -> bool:
        """Finds the stretch that a packet belongs to; False where the video has yet to come there."""
        time, stream = time_of(packet), self._streams[packet.stream_index]
        stretches = self._timeline.stretches
        if time is None or not stretches:
            return True
        if stream.last is not None and -BACK <= time - stream.last <= NEAR:
            return True
        back = stream.last is not None and time < stream.last
        first = stream.stretch + back
        known = range(first, len(stretches))
        nearest = min(known, key=lambda number: stretches[number].distance(time), default=None)
        if nearest is None or stretches[nearest].distance(time) > self._timeline.ahead:
            return False
        stream.stretch = nearest
        return True

    def _go_alone(self, packet: Packet) -> None:
        """A stream jumps where the video does not: back it goes on; ahead it leaves a gap."""
        time, stream = time_of(packet), self._streams[packet.stream_index]
        if packet.stream.type != "audio" or time is None or stream.last is None:
            return
        if time < stream.last - BACK:
            length = (packet.duration or 0) * packet.time_base
            stream.alone += stream.last + length - time

    def _settle(self, packet: Packet) -> bool:
        """Moves a packet; False where its time was given to others long ago."""
        if packet.pts is None:
            packet.pts = packet.dts
        time, stream = time_of(packet), self._streams[packet.stream_index]
        if time is None:
            return True
        stream.last = time
        stretches = self._timeline.stretches
        shift = stretches[stream.stretch].shift if stretches else Fraction(0)
        move(packet, shift + stream.alone)
        moved = time_of(packet)
        assert moved is not None
        if packet.stream.type == "audio" and stream.given - moved > OVERLAP:
            self._left_out += 1
            return False
        stream.given = max(stream.given, moved)
        return True


def time_of(packet: Packet) -> Fraction | None:
    """When a packet is to be decoded, in seconds; else when it is shown; None where neither is known."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return None if ticks is None else Fraction(ticks) * packet.time_base


def move(packet: Packet, shift: Fraction) -> None:
    """Moves a packet's times on by so many seconds."""
    if not shift:
        return
    ticks = round(shift / packet.time_base)
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks
