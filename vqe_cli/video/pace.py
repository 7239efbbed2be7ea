"""Times of copied packets as containers take them."""

from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

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
