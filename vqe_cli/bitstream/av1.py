"""The QP of AV1 pictures, base_q_idx, from the packets of a demuxer; FFmpeg's decoders do not export it."""

from collections.abc import Iterator

from vqe_cli.bitstream.av1_headers import KEY, SLOTS, FrameReader, SequenceHeader, Slot, read_sequence_header
from vqe_cli.bitstream.nal import HeaderError

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6  # obu_type (6.2.2)
AV1C_BYTES = 4  # before the OBUs in av1C (AV1 in ISOBMFF, 2.3.3)
# Headers are far shorter; a frame's coded samples are never read.
MOST_BYTES = 512


class Av1Parser:
    """Gives the base_q_idx of the picture that each packet (temporal unit) shows, in coding order.

    A temporal unit shows one picture; frames that it hides are remembered for the one that shows them again
    (show_existing_frame). Pictures come out of a decoder in the order of their packets. Nothing is raised:
    what cannot be read is None.
    """

    def __init__(self, codec_extradata: bytes | None = None) -> None:
        self._sequence: SequenceHeader | None = None
        self._slots: list[Slot | None] = [None] * SLOTS
        if codec_extradata and codec_extradata[0] & 0x80:
            self.parse(codec_extradata[AV1C_BYTES:])

    def parse(self, packet: bytes) -> int | None:
        """base_q_idx, 0 … 255, of the picture shown; None where there is none or it cannot be read."""
        shown: int | None = None
        for kind, layer, payload in _obus(packet):
            try:
                if kind == SEQUENCE_HEADER:
                    self._sequence = read_sequence_header(payload)
                elif kind in (FRAME_HEADER, FRAME) and self._is_chosen(layer):
                    is_shown, qp = self._frame(payload, layer or (0, 0))
                    shown = qp if is_shown else shown
            except HeaderError:
                # Any slot may hold this frame now.
                self._slots = [None] * SLOTS
                shown = None
        return shown

    def _is_chosen(self, layer: tuple[int, int] | None) -> bool:
        """Whether decoders, which take the first operating point, need a frame of this layer."""
        layers = self._sequence.points[0].layers if self._sequence else 0
        if not layers or layer is None:
            return True
        return bool(layers >> layer[0] & 1 and layers >> (layer[1] + 8) & 1)

    def _frame(self, payload: bytes, layer: tuple[int, int]) -> tuple[bool, int | None]:
        """Whether a frame is shown, and its QP."""
        if self._sequence is None:
            raise HeaderError("no sequence header came before the frame")
        frame = FrameReader(payload, self._sequence, self._slots, layer).read()
        if frame.kind == KEY and frame.shown:
            self._slots = [None] * SLOTS
        for position in range(SLOTS):
            if frame.refresh >> position & 1:
                self._slots[position] = frame.slot
        return frame.shown, frame.qp


def _obus(packet: bytes) -> Iterator[tuple[int, tuple[int, int] | None, bytes]]:
    """obu_type, (temporal_id, spatial_id) or None, and the first bytes of each OBU (5.3)."""
    at = 0
    while at < len(packet):
        header = packet[at]
        at += 1
        layer = None
        if header & 4 and at < len(packet):  # obu_extension_flag
            layer = packet[at] >> 5, packet[at] >> 3 & 3
            at += 1
        size = len(packet) - at
        if header & 2:  # obu_has_size_field
            size, at = _leb128(packet, at)
        yield header >> 3 & 15, layer, packet[at : at + min(size, MOST_BYTES)]
        at += size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to eight bytes (4.10.5), and where it ends."""
    value = 0
    for count in range(8):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            break
    return value, at
