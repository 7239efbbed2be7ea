"""The packets of a part of a video, taken out of their container, for machines that do not see the file."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from vqe_cli.bitstream.packets import PacketParser, decoded_from
from vqe_cli.video.formats import planes_of
from vqe_cli.video.frame import Frame, VideoInfo
from vqe_cli.video.opening import open_input, reading, video_stream
from vqe_cli.video.probe import OUTPUT_CORRUPT, UNALIGNED, parsed
from vqe_cli.video.reader import Entry, carried_by
from vqe_cli.video.timeline import timeline_of


@dataclass(frozen=True)
class SentPackets:
    """The packets of a part, and what a decoder must know of them."""

    codec: str
    """FFmpeg's name."""

    extradata: bytes
    """What the decoder gets before the first packet."""

    size: tuple[int, int]
    """(width, height) of the pictures, pixels."""

    pix_fmt: str
    entry: Entry | None
    """Where they begin; None for the beginning of the stream."""

    packets: tuple[tuple[bytes, int | None, int | None, bool], ...]
    """In decoding order: content, pts, dts, and whether decoding may begin there."""

    hidden: frozenset[int] = frozenset()
    """Pts of pictures that an edit list hides."""

    @property
    def bytes(self) -> int:
        return sum(len(data) for data, *_ in self.packets)


def packets_between(path: Path, info: VideoInfo, entry: Entry | None, last_pts: int | None) -> SentPackets:
    """The packets that it takes to decode from the entry to the picture shown at `last_pts` (None: all).

    They go on to the second random access picture after it: those that lead the first one are shown before.
    """
    packets: list[tuple[bytes, int | None, int | None, bool]] = []
    hidden: set[int] = set()
    beyond = 0
    with open_input(path) as container, reading(path):
        stream = video_stream(container, path)
        extradata = bytes(stream.codec_context.extradata or b"")
        begun = entry is None
        timeline = timeline_of(container, stream)
        parser = PacketParser(extradata) if info.codec == "hevc" else None
        for packet in container.demux(stream):
            if not packet.size:
                continue
            timeline.move(packet)
            picture = None if parser is None else decoded_from(parsed(parser, packet))
            begun = begun or (entry is not None and packet.is_keyframe and packet.pts == entry.pts)
            if not begun:
                continue
            if packet.is_keyframe and last_pts is not None and packet.pts is not None:
                beyond += packet.pts > last_pts
            if beyond == 2:
                break
            if picture is not None and picture.skipped:
                continue  # as the reader does
            if packet.is_discard and packet.pts is not None:
                hidden.add(packet.pts)
            packets.append((bytes(packet), packet.pts, packet.dts, packet.is_keyframe))
    size = (info.width, info.height)
    return SentPackets(info.codec, extradata, size, info.pix_fmt, entry, tuple(packets), frozenset(hidden))


def decoded(packets: SentPackets) -> Generator[Frame, None, None]:
    """The pictures of sent packets, numbered as in the whole video; with planes and side data alone."""
    decoder = cast(VideoCodecContext, av.CodecContext.create(packets.codec, "r"))
    decoder.width, decoder.height = packets.size
    decoder.extradata = packets.extradata or None
    decoder.flags |= OUTPUT_CORRUPT | UNALIGNED
    if decoder.pix_fmt is None:
        decoder.pix_fmt = packets.pix_fmt
    index = 0 if packets.entry is None else packets.entry.index
    for packet in _packets(packets):
        try:
            pictures = decoder.decode(packet)
        except av.error.FFmpegError:
            continue
        for picture in pictures:
            if picture.pts in packets.hidden:
                continue
            if packets.entry is None or (picture.pts is not None and picture.pts >= packets.entry.pts):
                yield Frame(index, planes_of(picture), picture.pts, side_data=carried_by(picture))
                index += 1


def _packets(packets: SentPackets) -> Iterator[Packet | None]:
    for data, pts, dts, is_keyframe in packets.packets:
        packet = Packet(data)
        packet.pts, packet.dts, packet.is_keyframe = pts, dts, is_keyframe
        yield packet
    yield None
