"""Headers of AV1: sequence headers, and frame headers up to base_q_idx (AV1 Bitstream & Decoding Process
Specification, sections 5.5 and 5.9).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from vqe_cli.bitstream.nal import BitReader, HeaderError

KEY, INTER, INTRA_ONLY, SWITCH = range(4)
SELECT = 2  # SELECT_SCREEN_CONTENT_TOOLS and SELECT_INTEGER_MV: each frame says it
SLOTS, REFERENCES = 8, 7
ALL_SLOTS = 255
# Tiles: at most so wide, so large (samples), and so many across or down (section 3).
MAX_TILE_WIDTH, MAX_TILE_AREA, MAX_TILES = 4096, 4096 * 2304, 64


class OperatingPoint(NamedTuple):
    """layers: operating_point_idc. removal_times: whether its frames may tell when they leave the buffer."""

    layers: int
    removal_times: bool


@dataclass(frozen=True)
class SequenceHeader:
    """What frame headers cannot be read without (5.5.1); lengths in bits."""

    reduced: bool = False
    points: tuple[OperatingPoint, ...] = (OperatingPoint(0, False),)
    decoder_model: bool = False
    removal_length: int = 0
    presentation_length: int = 0
    """Of the time of presentation, 0 where frames do not tell it."""

    width_length: int = 0
    height_length: int = 0
    width: int = 0
    height: int = 0
    frame_id_length: int = 0
    """0 where frames have no numbers."""

    frame_id_delta_length: int = 0
    large_superblocks: bool = False
    reference_mvs: bool = False
    screen_content: int = SELECT
    integer_mv: int = SELECT
    order_length: int = 0
    superres: bool = False


def _unsigned_varying(bits: BitReader) -> int:
    """uvlc() of 4.10.3."""
    zeros = 0
    while not bits.flag():
        zeros += 1
        if zeros >= 32:
            return 2**32 - 1
    return bits.u(zeros) + (1 << zeros) - 1


def _non_symmetric(bits: BitReader, count: int) -> int:
    """ns(n) of 4.10.7: a number below `count`."""
    length = count.bit_length()
    short = (1 << length) - count
    value = bits.u(length - 1)
    return value if value < short else (value << 1) - short + bits.u(1)


def read_sequence_header(payload: bytes) -> SequenceHeader:
    """sequence_header_obu (5.5.1) up to superres; raises HeaderError where it ends too early."""
    bits = BitReader(payload)
    bits.skip(4)  # seq_profile, still_picture
    header = SequenceHeader(reduced=bits.flag())
    if header.reduced:
        bits.skip(5)
    else:
        header = _operating_points(bits, header)
    width_length, height_length = bits.u(4) + 1, bits.u(4) + 1
    header = replace(
        header,
        width_length=width_length,
        height_length=height_length,
        width=bits.u(width_length) + 1,
        height=bits.u(height_length) + 1,
    )
    if not header.reduced and bits.flag():
        delta_length = bits.u(4) + 2
        header = replace(
            header, frame_id_delta_length=delta_length, frame_id_length=delta_length + bits.u(3) + 1
        )
    header = replace(header, large_superblocks=bits.flag())
    bits.skip(2)  # enable_filter_intra, enable_intra_edge_filter
    if not header.reduced:
        header = _tools(bits, header)
    return replace(header, superres=bits.flag())


def _operating_points(bits: BitReader, header: SequenceHeader) -> SequenceHeader:
    """timing_info() … operating_parameters_info()."""
    delay_length = 0
    if bits.flag():  # timing_info_present_flag
        bits.skip(64)
        equal_interval = bits.flag()
        if equal_interval:
            _unsigned_varying(bits)
        if bits.flag():  # decoder_model_info_present_flag
            delay_length = bits.u(5) + 1
            bits.skip(32)
            removal, presentation = bits.u(5) + 1, bits.u(5) + 1
            header = replace(
                header,
                decoder_model=True,
                removal_length=removal,
                presentation_length=0 if equal_interval else presentation,
            )
    display_delays = bits.flag()
    points = []
    for _ in range(bits.u(5) + 1):
        layers = bits.u(12)
        if bits.u(5) > 7:
            bits.skip(1)  # seq_tier
        modelled = header.decoder_model and bits.flag()
        if modelled:
            bits.skip(2 * delay_length + 1)
        if display_delays and bits.flag():
            bits.skip(4)
        points.append(OperatingPoint(layers, modelled))
    return replace(header, points=tuple(points))


def _tools(bits: BitReader, header: SequenceHeader) -> SequenceHeader:
    """enable_interintra_compound … order_hint_bits_minus_1."""
    bits.skip(4)  # interintra and masked compound, warped motion, dual filter
    ordered, reference_mvs = bits.flag(), False
    if ordered:
        bits.skip(1)  # enable_jnt_comp
        reference_mvs = bits.flag()
    screen_content = SELECT if bits.flag() else bits.u(1)
    integer_mv = SELECT
    if screen_content > 0:
        integer_mv = SELECT if bits.flag() else bits.u(1)
    return replace(
        header,
        reference_mvs=reference_mvs,
        screen_content=screen_content,
        integer_mv=integer_mv,
        order_length=bits.u(3) + 1 if ordered else 0,
    )


class Slot(NamedTuple):
    """A reference frame: its QP (None: unknown), frame_type and size (UpscaledWidth, FrameHeight)."""

    qp: int | None
    kind: int
    width: int
    height: int


@dataclass(frozen=True)
class FrameHeader:
    """A frame, or (existing) one of an earlier header that is shown now."""

    qp: int | None
    """base_q_idx, 0 … 255; None where the frame shown is not known."""

    shown: bool
    kind: int
    refresh: int
    """Bits of the slots that keep it."""

    width: int
    height: int

    @property
    def slot(self) -> Slot:
        return Slot(self.qp, self.kind, self.width, self.height)


class FrameReader:
    """Reads one frame header; raises HeaderError where that is not possible.

    slots: the reference frames, None where unknown. layer: temporal_id and spatial_id of its OBU.
    """

    def __init__(
        self, payload: bytes, sequence: SequenceHeader, slots: list[Slot | None], layer: tuple[int, int]
    ) -> None:
        self._bits, self._sequence, self._slots, self._layer = BitReader(payload), sequence, slots, layer
        self._override = False
        self._width = self._height = 0
        self._upscaled = 0

    def read(self) -> FrameHeader:
        """uncompressed_header() (5.9.2) up to base_q_idx."""
        bits, sequence = self._bits, self._sequence
        kind, shown, resilient = KEY, True, True
        if not sequence.reduced:
            if bits.flag():
                return self._existing()
            kind, shown = bits.u(2), bits.flag()
            if shown:
                bits.skip(sequence.presentation_length)
            else:
                bits.skip(1)  # showable_frame
            resilient = kind == SWITCH or (kind == KEY and shown) or bits.flag()
        intra = kind in (KEY, INTRA_ONLY)
        no_update = bits.flag()
        screen_content = bits.flag() if sequence.screen_content == SELECT else bool(sequence.screen_content)
        integer_mv = False
        if screen_content:
            integer_mv = bits.flag() if sequence.integer_mv == SELECT else bool(sequence.integer_mv)
        bits.skip(sequence.frame_id_length)
        self._override = kind == SWITCH or (not sequence.reduced and bits.flag())
        bits.skip(sequence.order_length)
        if not intra and not resilient:
            bits.skip(3)  # primary_ref_frame
        if sequence.decoder_model:
            self._removal_times()
        refresh = ALL_SLOTS if kind == SWITCH or (kind == KEY and shown) else bits.u(8)
        if (not intra or refresh != ALL_SLOTS) and resilient:
            bits.skip(SLOTS * sequence.order_length)
        if intra:
            self._size()
            self._render_size()
            if screen_content and self._upscaled == self._width:
                bits.skip(1)  # allow_intrabc
        else:
            self._inter(resilient, integer_mv)
        if not sequence.reduced and not no_update:
            bits.skip(1)  # disable_frame_end_update_cdf
        self._tiles()
        return FrameHeader(bits.u(8), shown, kind, refresh, self._upscaled, self._height)

    def _existing(self) -> FrameHeader:
        """show_existing_frame: a key frame takes all slots again (7.21)."""
        slot = self._slots[self._bits.u(3)]
        if slot is None:
            return FrameHeader(None, True, INTER, 0, 0, 0)
        return FrameHeader(
            slot.qp, True, slot.kind, ALL_SLOTS if slot.kind == KEY else 0, slot.width, slot.height
        )

    def _removal_times(self) -> None:
        """buffer_removal_time of the operating points that the frame belongs to."""
        if not self._bits.flag():
            return
        temporal, spatial = self._layer
        for layers, removal_times in self._sequence.points:
            inside = layers >> temporal & 1 and layers >> (spatial + 8) & 1
            if removal_times and (layers == 0 or inside):
                self._bits.skip(self._sequence.removal_length)

    def _inter(self, resilient: bool, integer_mv: bool) -> None:
        """References, size and what follows it in inter frames."""
        bits, sequence = self._bits, self._sequence
        short = sequence.order_length > 0 and bits.flag()  # frame_refs_short_signaling
        if short:
            bits.skip(6)
        references = []
        for _ in range(REFERENCES):
            if not short:
                references.append(bits.u(3))
            bits.skip(sequence.frame_id_delta_length)
        if self._override and not resilient:
            self._size_with_references(references)
        else:
            self._size()
            self._render_size()
        if not integer_mv:
            bits.skip(1)  # allow_high_precision_mv
        if not bits.flag():  # is_filter_switchable
            bits.skip(2)
        bits.skip(1)  # is_motion_mode_switchable
        if not resilient and sequence.reference_mvs:
            bits.skip(1)  # use_ref_frame_mvs

    def _size(self) -> None:
        """frame_size() (5.9.5)."""
        bits, sequence = self._bits, self._sequence
        self._width, self._height = sequence.width, sequence.height
        if self._override:
            self._width = bits.u(sequence.width_length) + 1
            self._height = bits.u(sequence.height_length) + 1
        self._superres()

    def _superres(self) -> None:
        """superres_params() (5.9.8)."""
        self._upscaled = self._width
        if self._sequence.superres and self._bits.flag():
            denominator = self._bits.u(3) + 9
            self._width = (self._upscaled * 8 + denominator // 2) // denominator

    def _render_size(self) -> None:
        if self._bits.flag():
            self._bits.skip(32)

    def _size_with_references(self, references: list[int]) -> None:
        """frame_size_with_refs() (5.9.7)."""
        for position in range(REFERENCES):
            if self._bits.flag():
                slot = self._slots[references[position]] if references else None
                if slot is None:
                    raise HeaderError("the frame has the size of one that is not known")
                self._width, self._height = slot.width, slot.height
                self._superres()
                return
        self._size()
        self._render_size()

    def _tiles(self) -> None:
        """tile_info() (5.9.15)."""
        bits = self._bits
        shift = 5 if self._sequence.large_superblocks else 4
        columns, rows = (
            ((side + 7 >> 3) * 2 + (1 << shift) - 1) >> shift for side in (self._width, self._height)
        )
        widest, largest = MAX_TILE_WIDTH >> (shift + 2), MAX_TILE_AREA >> 2 * (shift + 2)
        fewest_columns = _log2(widest, columns)
        fewest = max(fewest_columns, _log2(largest, rows * columns))
        if bits.flag():  # uniform_tile_spacing_flag
            columns_log2 = self._increments(fewest_columns, _log2(1, min(columns, MAX_TILES)))
            rows_log2 = self._increments(max(fewest - columns_log2, 0), _log2(1, min(rows, MAX_TILES)))
        else:
            sizes = self._spaced(columns, widest)
            area = rows * columns >> (fewest + 1) if fewest else rows * columns
            columns_log2 = _log2(1, len(sizes))
            rows_log2 = _log2(1, len(self._spaced(rows, max(area // max(sizes), 1))))
        if columns_log2 or rows_log2:
            bits.skip(columns_log2 + rows_log2 + 2)  # context_update_tile_id, tile_size_bytes_minus_1

    def _increments(self, least: int, most: int) -> int:
        while least < most and self._bits.flag():
            least += 1
        return least

    def _spaced(self, total: int, most: int) -> list[int]:
        """Sizes of tiles that are listed one by one."""
        sizes: list[int] = []
        while total > 0:
            size = _non_symmetric(self._bits, min(total, most)) + 1
            sizes.append(size)
            total -= size
        return sizes


def _log2(block: int, target: int) -> int:
    """tile_log2() (5.9.16): the least k with block * 2^k >= target."""
    power = 0
    while block << power < target:
        power += 1
    return power
