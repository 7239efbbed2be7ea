"""The pictures of a stream from its headers: order counts, QPs, what is skipped, what is unknown."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vqe_cli.bitstream.nal import (
    CRA,
    END_OF_BITSTREAM,
    END_OF_SEQUENCE,
    PPS,
    RASL_N,
    RASL_R,
    SPS,
    BitReader,
    HeaderError,
    NalHeader,
    is_irap,
    is_slice,
    nal_header,
    payload,
)
from vqe_cli.bitstream.parameter_sets import Pps, Sps, read_pps, read_sps, sps_identity
from vqe_cli.bitstream.slice_header import SliceHeader, read_slice_header


class Retention(NamedTuple):
    """What a picture asks of the decoded picture buffer, needed where prior pictures may go unshown
    (C.5.2)."""

    starts_clean: bool
    """Pictures of earlier sequences that were not yet shown are dropped (NoOutputOfPriorPicsFlag)."""
    reorder: int
    """A bound of the SPS, as in `Sps`."""
    latency: int
    """A bound of the SPS, as in `Sps`."""
    buffering: int
    """A bound of the SPS, as in `Sps`."""
    kept: tuple[int, ...]
    """POCs of the pictures that stay for reference."""
    kept_lsbs: tuple[int, ...]
    """Long-term pictures that stay and are identified by least significant bits alone."""
    lsb_range: int
    """Modulus of `kept_lsbs`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One coded picture, known from its headers alone."""

    poc: int | None
    """Picture order count within its sequence; None when unknown."""
    qp: int | None
    """SliceQpY of the first slice (7.4.7.1), -48 … 51; None when its header cannot be read."""
    kind: str
    """"I", "P" or "B" of the first slice; "?" when unknown."""
    irap: bool
    """Random access picture."""
    nal_type: int
    """nal_unit_type of table 7-1."""
    temporal_id: int
    """TemporalId, 0 … 6."""
    sequence: int
    """Counts coded video sequences, from 0."""
    decode_index: int
    """Counts decoded pictures in coding order; -1 for those that a decoder skips."""
    output: bool
    """False for what is never shown: pic_output_flag 0, RASL pictures without their reference, pictures
    before the first random access picture."""
    slice_qps: tuple[int | None, ...] = ()
    """SliceQpY of each slice; dependent segments are not counted."""
    packet: int = -1
    """Counts the packets given to `PacketParser`, from 0."""
    retention: Retention | None = field(default=None, repr=False, compare=False)
    """What it asks of the decoded picture buffer."""

    @property
    def skipped(self) -> bool:
        """True for RASL pictures without their reference and pictures before the first random access picture.

        A decoder must not be given these: asked to show damaged pictures, too (`output_corrupt`), FFmpeg 8.1
        shows them and loses the random access picture behind them.
        """
        return self.decode_index < 0


# A slice header up to its QP hardly ever needs more than the first; the second covers the longest that is
# legal.
SHORT_BYTES, LONG_BYTES = 64, 4096

# RADL_N … RASL_R are 6 … 9; pictures of even types up to 14 are not referred to within their sub-layer (table
# 7-1).
FIRST_LEADING, LAST_SUB_LAYER_NON_REFERENCE = 6, 14


class HeaderParser:
    """Reads the headers of one stream: feed NAL units in coding order, take `Picture` records. What cannot
    be read gives a picture without QP and is counted in `warnings`; nothing is raised."""

    def __init__(self) -> None:
        self.packet = -1  # goes into `Picture.packet`; whoever feeds packets counts them here
        self._sps: dict[int, Sps] = {}
        self._pps: dict[int, Pps] = {}
        self._open: Picture | None = None
        self._slice_qps: list[int | None] = []
        self._sequence = -1
        self._decoded = 0
        self._pictures = 0
        self._sequence_ended = True
        self._skip_leading = False
        self._previous_poc = 0  # prevTid0Pic's PicOrderCntVal (8.3.1)
        self._unknown = 0
        self._first_unknown = ""
        self._set_error = ""

    @property
    def warnings(self) -> list[str]:
        """Nothing, or one sentence that counts the pictures of unknown QP and says why for the first."""
        if not self._unknown:
            return []
        return [f"the QP of {self._unknown} of {self._pictures} pictures is unknown: {self._first_unknown}"]

    @property
    def chroma_location(self) -> int | None:
        """chroma_sample_loc_type_top_field of the first SPS that tells it (H.265, E.3.1), or None."""
        return next(
            (sps.chroma_location for sps in self._sps.values() if sps.chroma_location is not None), None
        )

    def feed(self, nal: bytes) -> Picture | None:
        """Takes the next NAL unit (at least its first bytes); the picture before it, when complete."""
        header = nal_header(nal)
        if header is None or header.layer_id > 0:
            return None  # broken, or of an enhancement layer, which the base layer does not need
        if is_slice(header.nal_type):
            return self._slice(header, nal)
        if header.nal_type == SPS:
            self._read_sps(payload(nal))
        elif header.nal_type == PPS:
            self._read_pps(payload(nal))
        elif header.nal_type in (END_OF_SEQUENCE, END_OF_BITSTREAM):
            done = self.flush()
            self._sequence_ended = True
            return done
        return None

    def flush(self) -> Picture | None:
        """The picture whose slices came last, where the stream or its packet ends."""
        picture, self._open = self._open, None
        if picture is None or len(self._slice_qps) < 2:
            return picture
        return replace(picture, slice_qps=tuple(self._slice_qps))

    def discontinuity(self) -> None:
        """Says that the next NAL unit does not follow the last one (a seek): decoding starts afresh there."""
        self._open = None
        self._sequence_ended = True

    def _read_sps(self, rbsp: bytes) -> None:
        rbsp = rbsp.rstrip(b"\x00")
        try:
            sps = read_sps(rbsp)
        except HeaderError as error:
            self._set_error = f"an SPS is broken ({error})"
            try:
                self._sps.pop(sps_identity(BitReader(rbsp))[1], None)
            except HeaderError:
                return  # whose place it would take cannot be known
        else:
            self._sps[sps.sps_id] = sps

    def _read_pps(self, rbsp: bytes) -> None:
        rbsp = rbsp.rstrip(b"\x00")
        try:
            pps = read_pps(rbsp)
        except HeaderError as error:
            self._set_error = f"a PPS is broken ({error})"
            try:
                self._pps.pop(BitReader(rbsp).ue(63, "pps_pic_parameter_set_id"), None)
            except HeaderError:
                return
        else:
            self._pps[pps.pps_id] = pps

    def _slice(self, header: NalHeader, nal: bytes) -> Picture | None:
        first = len(nal) > 2 and nal[2] & 0x80 != 0
        if not first:
            if self._open is not None:
                self._later_slice(header, nal)
            return None
        done = self.flush()
        try:
            self._start_picture(header, self._header(header, nal), "")
        except HeaderError as error:
            self._start_picture(header, None, str(error))
        return done

    def _header(self, header: NalHeader, nal: bytes) -> SliceHeader:
        if len(nal) <= SHORT_BYTES:
            return read_slice_header(payload(nal), header.nal_type, self._pps, self._sps)
        try:
            return read_slice_header(payload(nal, SHORT_BYTES), header.nal_type, self._pps, self._sps)
        except HeaderError:
            return read_slice_header(payload(nal, LONG_BYTES), header.nal_type, self._pps, self._sps)

    def _later_slice(self, header: NalHeader, nal: bytes) -> None:
        try:
            read = self._header(header, nal)
        except HeaderError:
            self._slice_qps.append(None)
        else:
            if read.kind:
                self._slice_qps.append(read.qp)

    def _start_picture(self, header: NalHeader, read: SliceHeader | None, error: str) -> None:
        nal_type = header.nal_type
        irap = is_irap(nal_type)
        starts = irap and (self._sequence_ended or nal_type != CRA)
        continues_bitstream = self._sequence >= 0
        if starts:
            self._sequence += 1
            self._sequence_ended = False
        if irap:
            # RASL pictures refer to pictures before their CRA or BLA: there are none where a sequence starts.
            self._skip_leading = starts
        skipped = self._sequence_ended or (self._skip_leading and nal_type in (RASL_N, RASL_R))
        poc = None if read is None else self._picture_order_count(header, read, starts)
        retention = None
        if read is not None and poc is not None:
            drops_prior = starts and continues_bitstream and (nal_type == CRA or read.no_prior_output)
            retention = _retention(read, poc, drops_prior)
        if not skipped:
            self._count_unknown(read, error)
        self._slice_qps = [None if read is None else read.qp]
        self._open = Picture(
            poc=poc,
            qp=None if read is None else read.qp,
            kind="?" if read is None else read.kind,
            irap=irap,
            nal_type=nal_type,
            temporal_id=header.temporal_id,
            sequence=max(self._sequence, 0),
            decode_index=-1 if skipped else self._decoded,
            output=not skipped and (read is None or read.output),
            slice_qps=tuple(self._slice_qps),
            packet=self.packet,
            retention=retention,
        )
        self._decoded += not skipped

    def _count_unknown(self, read: SliceHeader | None, error: str) -> None:
        if read is None:
            if not self._unknown:
                cause = f"; {self._set_error}" if self._set_error else ""
                self._first_unknown = f"the header of picture {self._decoded} cannot be read ({error}{cause})"
            self._unknown += 1
        self._pictures += 1

    def _picture_order_count(self, header: NalHeader, read: SliceHeader, starts: bool) -> int:
        """PicOrderCntVal (8.3.1)."""
        span = 1 << read.sps.poc_lsb_bits
        if starts:
            high = 0
        else:
            low = self._previous_poc % span
            high = self._previous_poc - low
            if read.poc_lsb < low and low - read.poc_lsb >= span // 2:
                high += span
            elif read.poc_lsb > low and read.poc_lsb - low > span // 2:
                high -= span
        poc = high + read.poc_lsb
        leading = FIRST_LEADING <= header.nal_type <= RASL_R
        unreferenced = header.nal_type <= LAST_SUB_LAYER_NON_REFERENCE and header.nal_type % 2 == 0
        if header.temporal_id == 0 and not leading and not unreferenced:
            self._previous_poc = poc
        return poc


def _retention(read: SliceHeader, poc: int, starts_clean: bool) -> Retention:
    span = 1 << read.sps.poc_lsb_bits
    base = poc - poc % span
    kept = [poc + distance for distance in (*read.short_term.before, *read.short_term.after)]
    kept += [base - cycle * span + lsb for lsb, cycle in read.long_term if cycle is not None]
    lsbs = tuple(lsb for lsb, cycle in read.long_term if cycle is None)
    sps = read.sps
    return Retention(starts_clean, sps.reorder, sps.latency, sps.buffering, tuple(kept), lsbs, span)
