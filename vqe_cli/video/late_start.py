"""Where decoding begins for a part that is chosen by its times: at the last key picture before it, and not at
the beginning of a long film.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

from av.packet import Packet

from vqe_cli.video.clock import REORDERED, frame_step
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.times import Times

# So many packets are kept while it is not known whether another key picture comes before the part.
MOST_PACKETS = 1000


def from_key_picture(
    packets: Iterator[Packet | None], times: Times, info: VideoInfo, begin: Callable[[int, int], None]
) -> Iterator[Packet | None]:
    """The packets from the last key picture on that is shown at the beginning of the part, or before it.

    packets: of one stream, in coding order; None stands for their end. begin: called before the first one
    with the index of that key picture among all that are shown, and its pts, unless it is the first one.
    From a packet without pts, and from a group of more than MOST_PACKETS pictures on, all are given.
    """
    start = (info.start_pts or 0) + Fraction(times.start_us, 1_000_000) / info.time_base
    far = start + REORDERED * frame_step(info)
    waiting: list[Packet | None] = []
    shown: list[int] = []  # pts of pictures
    key: int | None = None
    for packet in packets:
        if packet is None or packet.pts is None:
            waiting.append(packet)
            break
        if not packet.is_discard:
            if packet.is_keyframe and packet.pts <= start:
                waiting, key = [], packet.pts
            shown.append(packet.pts)
        waiting.append(packet)
        # Decoding times never decrease, and no picture is shown before it is decoded.
        passed = packet.pts > far or (packet.dts is not None and packet.dts > start)
        if passed or len(waiting) > MOST_PACKETS:
            break
    index = sum(pts < key for pts in shown) if key is not None else 0
    if index and key is not None:
        begin(index, key)
    yield from waiting
    yield from packets
