"""The time stamps of shown and of written frames: the input's own, made up only where it has none; and those
of copied packets as containers take them.
"""

from collections.abc import Iterator
from fractions import Fraction
from heapq import heapify, heappop, heappush

from av import VideoFrame
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from vqe_cli.video.frame import DEFAULT_RATE, Frame, VideoInfo

# So many pictures may lie between two that follow each other in coding order.
REORDERED = 32


def frame_step(info: VideoInfo) -> int:
    """Ticks between two frames at the average rate."""
    return round(1 / ((info.rate or DEFAULT_RATE) * info.time_base)) or 1


class ShownTimes:
    """Gives decoded pictures their times; these always grow.

    step: ticks between two pictures. Where packets tell no pts but when they are decoded (AVI), and where the
    pts of shown pictures go up and down (they are decoding times, then), the times of the packets are taken
    in order. A single pts that is missing or lies outside those of its neighbours is put between them.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._by_decoding = self._in_order = False
        self._begun = False
        self._coming: list[int] = []  # a heap: times of packets whose pictures were not shown yet
        self._last: int | None = None

    def coded(self, packet: Packet) -> None:
        """Takes note of a packet that the decoder gets; its picture will be shown."""
        if not self._begun and (packet.pts is not None or packet.dts is not None):
            self._begun = True
            self._by_decoding = self._in_order = packet.pts is None
        time = self._time_of(packet)
        if time is not None:
            heappush(self._coming, time)

    def lost(self, packet: Packet) -> None:
        """Takes note of a packet that cannot be decoded."""
        time = self._time_of(packet)
        if time in self._coming:
            self._coming.remove(time)
            heapify(self._coming)

    def earlier(self, picture: VideoFrame) -> int:
        """How many packets should have been shown before this picture, the first one, and were not."""
        if picture.pts is None or self._in_order:
            return 0
        return sum(time < picture.pts for time in self._coming)

    def timed(self, pictures: Iterator[VideoFrame]) -> Iterator[tuple[VideoFrame, int | None]]:
        """Each picture with its time; None where nothing is known of times."""
        picture = next(pictures, None)
        while picture is not None:
            following = next(pictures, None)
            yield picture, self._time(picture.pts, following.pts if following is not None else None)
            picture = following

    def _time(self, own: int | None, following: int | None) -> int | None:
        if not self._in_order and own is not None and following is not None and following < own:
            before = following if self._last is None else self._last
            if own - before > REORDERED * self._step:
                own = None  # far away from both neighbours
            elif self._coming and self._coming[0] < own:
                self._in_order = True
        time = own
        if self._in_order:
            time = self._coming[0] if self._coming else None
        if time is None or (self._last is not None and time <= self._last):
            time = self._between(following)
        if time is not None:
            self._last = time
            while self._coming and self._coming[0] <= time:
                heappop(self._coming)
        return time

    def _between(self, following: int | None) -> int | None:
        """A time behind the last one, a step away where there is room before the following one."""
        if self._last is None:
            return None if following is None else following - self._step
        if following is None or self._in_order or following <= self._last + 1:
            return self._last + self._step
        return min(self._last + self._step, (self._last + following) // 2)

    def _time_of(self, packet: Packet) -> int | None:
        return packet.dts if self._by_decoding else packet.pts


class Clock:
    """Gives each written frame its pts, in ticks of the input's time base.

    Frames without one (raw streams) are spaced by the frame rate; times that do not grow are moved on by a
    tick, for no container takes them. With `part` everything moves back, so that the first written frame
    takes the time of the input's first; a video that begins before zero is moved to zero. `shift` says by
    how many seconds times are moved back, `end_s` when the last written frame ends on the input's clock
    (infinity for the whole input, unless it `ends` early).
    """

    def __init__(self, info: VideoInfo, part: bool, ends: bool = False) -> None:
        self._info, self._part, self._ends = info, part, part or ends
        self._step = frame_step(info)
        self._first: int | None = None
        self._last: int | None = None
        self._end = 0

    def tick(self, frame: Frame) -> int:
        """The pts to write for the next frame."""
        own_pts = frame.pts if frame.pts is not None else frame.index * self._step
        if self._first is None:
            self._first = own_pts
        self._end = max(self._end, own_pts + (frame.duration or self._step))
        pts = own_pts - self._shift
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
        self._last = pts
        return pts

    @property
    def start_s(self) -> float:
        """When the written part starts on the input's clock; minus infinity for the whole input."""
        if not self._part or self._first is None:
            return float("-inf")
        return float(self._first * self._info.time_base)

    @property
    def end_s(self) -> float:
        """When the written part ends on the input's clock; infinity for the whole input."""
        return float(self._end * self._info.time_base) if self._ends else float("inf")

    @property
    def shift(self) -> Fraction:
        """By how many seconds times are moved back."""
        return self._shift * self._info.time_base

    @property
    def _shift(self) -> int:
        if self._first is None:
            return 0
        return self._first - max(0, (self._info.start_pts or 0) if self._part else self._first)


# --- times of copied packets ---

# FFmpeg's flag for muxers that take equal decoding times (AVFMT_TS_NONSTRICT).
TS_NONSTRICT = 1 << 17


class Pace:
    """Keeps decoding times from standing still or going back within a stream, which no container takes."""

    def __init__(self, output: OutputContainer) -> None:
        self._may_repeat = bool(output.format.flags & TS_NONSTRICT)
        self._next: dict[int, int] = {}  # earliest decoding time, by written stream

    def settle(self, packet: Packet, stream: Stream) -> bool:
        """Gives a packet times in ticks of its written stream; whether they had to be moved on.

        A packet without times follows the one before it.
        """
        if packet.time_base is not None and stream.time_base is not None:
            _rescale(packet, stream)
        pts, dts = packet.pts, packet.dts
        if pts is None and dts is None and stream.index not in self._next:
            return False  # a cover picture
        earliest = self._next.get(stream.index)
        if dts is None:
            dts = pts if pts is not None else earliest
        assert dts is not None
        moved = earliest is not None and dts < earliest
        if moved and earliest is not None:
            dts = earliest
        packet.dts, packet.pts = dts, dts if pts is None else max(pts, dts)
        may_repeat = self._may_repeat or stream.type in ("subtitle", "data")
        self._next[stream.index] = dts + (0 if may_repeat else 1)
        return moved


def with_content(packet: Packet, content: bytes) -> Packet:
    """A packet with the times of another."""
    other = Packet(content)
    other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
    other.duration, other.is_keyframe = packet.duration, packet.is_keyframe
    return other


def _rescale(packet: Packet, stream: Stream) -> None:
    """The packet's times in ticks of the stream, rounded as FFmpeg does."""
    assert stream.time_base is not None
    by = packet.time_base / stream.time_base
    if by == 1:
        return
    pts, dts, duration = packet.pts, packet.dts, packet.duration
    packet.time_base = stream.time_base
    packet.pts = None if pts is None else round(pts * by)
    packet.dts = None if dts is None else round(dts * by)
    if duration:
        packet.duration = round(duration * by)
