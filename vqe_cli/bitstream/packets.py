"""The pictures in a demuxer's packets: what the video reader puts on each packet before decoding it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vqe_cli.bitstream.headers import HeaderParser, Picture
from vqe_cli.bitstream.nal import HeaderError, annex_b, length_prefixed

HVCC_HEADER_BYTES = 23


class PacketParser:
    """Gives the pictures of each packet, in coding order; a demuxer's packet holds one access unit.

    codec_extradata: what the container says of the codec: hvcC (ISO/IEC 14496-15, 8.3.3.1; packets are then
    length prefixed), parameter sets with start codes (packets have start codes, too), or None. Nothing is
    ever raised: `warnings` holds at most one sentence.
    """

    def __init__(self, codec_extradata: bytes | None = None) -> None:
        self._parser = HeaderParser()
        self._length_size = 0
        self._damaged = 0
        self.new_extradata(codec_extradata)

    @property
    def warnings(self) -> list[str]:
        """Nothing, or one sentence about the pictures whose QP is unknown or packets that are cut short."""
        if self._parser.warnings or not self._damaged:
            return self._parser.warnings
        return [f"{self._damaged} packets are damaged: a NAL unit in them is longer than its packet"]

    @property
    def chroma_location(self) -> int | None:
        """Where chroma samples lie, as `HeaderParser.chroma_location` says it."""
        return self._parser.chroma_location

    def new_extradata(self, codec_extradata: bytes | None) -> None:
        """Takes the parameter sets of the container, at the start or where it changes them."""
        if not codec_extradata:
            return
        if _is_hvcc(codec_extradata):
            self._length_size = (codec_extradata[21] & 3) + 1
            nals = _hvcc_nals(codec_extradata)
        else:
            self._length_size = 0
            nals = annex_b(codec_extradata)
        for nal in nals:
            self._parser.feed(nal)

    def parse(self, packet: bytes) -> list[Picture]:
        """The pictures that begin in this packet: one for an access unit, none without a first slice."""
        nals = length_prefixed(packet, self._length_size) if self._length_size else annex_b(packet)
        self._parser.packet += 1
        pictures: list[Picture] = []
        try:
            for nal in nals:
                done = self._parser.feed(nal)
                if done is not None:
                    pictures.append(done)
        except HeaderError:
            self._damaged += 1
        last = self._parser.flush()
        if last is not None:
            pictures.append(last)
        return pictures

    def discontinuity(self) -> None:
        """Says that the next packet comes after a seek: decoding starts afresh at a random access picture."""
        self._parser.discontinuity()


class KnownPackets(PacketParser):
    """Stands in for a `PacketParser` where the packets of a file are gone through a second time.

    pictures: all that the first one gave, in its order.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        super().__init__()
        self._next = 0
        self._pictures = pictures
        self._packet = 0

    def new_extradata(self, codec_extradata: bytes | None) -> None:
        """Nothing is parsed any more."""

    def parse(self, packet: bytes) -> list[Picture]:
        """The pictures of the next packet, whatever its bytes."""
        first = self._next
        while self._next < len(self._pictures) and self._pictures[self._next].packet == self._packet:
            self._next += 1
        self._packet += 1
        return list(self._pictures[first : self._next])


def decoded_from(pictures: Sequence[Picture]) -> Picture | None:
    """The picture that a decoder shows for a packet with these pictures; None for a packet without one.

    A demuxer's packet holds one. Of several, FFmpeg 8.1 shows one and does not tell which: QP unknown.
    """
    if len(pictures) < 2:
        return pictures[0] if pictures else None
    return replace(pictures[0], poc=None, qp=None, kind="?", slice_qps=(None,))


def _is_hvcc(extradata: bytes) -> bool:
    """True for an hvcC record: version 1 (some writers: 0), never a start code. FFmpeg tells them so, too."""
    return len(extradata) >= HVCC_HEADER_BYTES and (extradata[0] or extradata[1] or extradata[2] > 1) != 0


def _hvcc_nals(extradata: bytes) -> Iterator[bytes]:
    """The NAL units of an hvcC record, as far as they are whole."""
    position = HVCC_HEADER_BYTES
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            size = int.from_bytes(extradata[position : position + 2], "big")
            position += 2
            if position + size > len(extradata):
                return
            yield extradata[position : position + size]
            position += size
