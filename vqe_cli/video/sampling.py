"""Packets of the first and of the last seconds of a file, for a trial of what is to be written."""

from collections.abc import Iterator, Sequence

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

FIRST_S, LAST_S = 3.0, 2.0
# So far a stream is looked for that has no packets at the beginning, as subtitles.
SEARCHED_S = 60.0
LIMIT_BYTES = 1 << 25


def beginning(source: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
    """The packets of the first seconds, and the first ones of each stream that begins a little later."""
    if not streams:
        return
    missing = {stream.index for stream in streams}
    started_s, read = None, 0
    for packet in _readable(source, streams):
        if not packet.size:
            continue
        now_s, read = _time_s(packet), read + packet.size
        if now_s is not None and started_s is None:
            started_s = now_s
        past_s = 0.0 if now_s is None or started_s is None else now_s - started_s
        if past_s <= FIRST_S or packet.stream_index in missing:
            missing.discard(packet.stream_index)
            yield packet
        elif not missing or past_s > SEARCHED_S or read > LIMIT_BYTES:
            return


def ending(source: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
    """The packets of the last seconds; none of a file that is short, or that cannot be sought in."""
    if not streams or not source.duration or source.duration < (FIRST_S + LAST_S) * av.time_base:
        return
    start_s = ((source.start_time or 0) + source.duration) / av.time_base - LAST_S
    read = 0
    try:
        source.seek(round(start_s * av.time_base))
    except av.error.FFmpegError:
        return
    for packet in _readable(source, streams):
        read += packet.size
        now_s = _time_s(packet)
        if packet.size and now_s is not None and now_s >= start_s:
            yield packet
        if read > LIMIT_BYTES:
            return


def _readable(source: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
    """The packets from here on as far as they can be read; where that ends is found out in the run."""
    try:
        yield from source.demux(*streams)
    except av.error.FFmpegError:
        return


def _time_s(packet: Packet) -> float | None:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return None if ticks is None or packet.time_base is None else float(ticks * packet.time_base)
