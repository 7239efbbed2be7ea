"""Slice segment headers up to slice_qp_delta (H.265, 7.3.6.1)."""

from collections.abc import Mapping
from typing import NamedTuple

from vqe_cli.bitstream.nal import IDR_N_LP, IDR_W_RADL, BitReader, HeaderError, is_irap
from vqe_cli.bitstream.parameter_sets import Pps, Sps, bits_for
from vqe_cli.bitstream.structures import EMPTY, ShortTermSet, read_short_term_set

B, P, I = 0, 1, 2  # noqa: E741 - slice_type (table 7-7)
MOST_REFERENCES = 15


class SliceHeader(NamedTuple):
    """What a slice segment header says (H.265, 7.3.6.1)."""

    sps: Sps
    """The sequence parameter set that it refers to."""
    kind: str
    """"I", "P" or "B"; "" for a dependent segment."""
    qp: int | None
    """SliceQpY, -QpBdOffsetY … 51; None for a dependent segment."""
    poc_lsb: int
    """slice_pic_order_cnt_lsb, 0 for IDR pictures."""
    output: bool
    """pic_output_flag."""
    no_prior_output: bool
    """no_output_of_prior_pics_flag."""
    short_term: ShortTermSet
    """The short-term pictures kept."""
    long_term: tuple[tuple[int, int | None], ...]
    """For each long-term picture kept: POC least significant bits, and delta_poc_msb_cycle accumulated, or
    None where bits alone identify it."""


def read_slice_header(
    rbsp: bytes, nal_type: int, pps_by_id: Mapping[int, Pps], sps_by_id: Mapping[int, Sps]
) -> SliceHeader:
    """The header in a slice segment's payload; raises HeaderError where it cannot be read."""
    bits = BitReader(rbsp)
    first = bits.flag()
    no_prior_output = is_irap(nal_type) and bits.flag()
    pps_id = bits.ue(63, "slice_pic_parameter_set_id")
    pps = pps_by_id.get(pps_id)
    if pps is None:
        raise HeaderError(f"it refers to PPS {pps_id}, which is missing")
    sps = sps_by_id.get(pps.sps_id)
    if sps is None:
        raise HeaderError(f"it refers to SPS {pps.sps_id}, which is missing")
    if not first:
        dependent = pps.dependent_slice_segments and bits.flag()
        bits.skip(sps.address_bits)
        if dependent:
            return SliceHeader(sps, "", None, 0, True, no_prior_output, EMPTY, ())
    bits.skip(pps.num_extra_slice_header_bits)
    slice_type = bits.ue(I, "slice_type")
    if slice_type != I and nal_type in (IDR_W_RADL, IDR_N_LP):
        raise HeaderError("an IDR picture has a slice that is not intra")
    output = bits.flag() if pps.output_flag_present else True
    if sps.separate_colour_plane:
        bits.skip(2)
    poc_lsb, short_term, used, temporal_mvp = 0, EMPTY, 0, False
    long_term: tuple[tuple[int, int | None], ...] = ()
    if nal_type not in (IDR_W_RADL, IDR_N_LP):
        poc_lsb = bits.u(sps.poc_lsb_bits)
        short_term = _short_term(bits, sps)
        used = short_term.used_count
        if sps.long_term_present:
            long_term, used_long_term = _long_term(bits, sps)
            used += used_long_term
        temporal_mvp = sps.temporal_mvp and bits.flag()
    if sps.sao:
        bits.skip(2 if sps.chroma else 1)
    if slice_type != I:
        _skip_inter_fields(bits, sps, pps, slice_type, used, temporal_mvp)
    qp = pps.init_qp + bits.se(-200, 200, "slice_qp_delta")
    if not -sps.qp_offset <= qp <= 51:
        raise HeaderError(f"SliceQpY is {qp}, outside {-sps.qp_offset} … 51")
    return SliceHeader(sps, "BPI"[slice_type], qp, poc_lsb, output, no_prior_output, short_term, long_term)


def _short_term(bits: BitReader, sps: Sps) -> ShortTermSet:
    sets = sps.short_term_sets
    if not bits.flag():
        return read_short_term_set(bits, sets, in_slice=True)
    index = bits.u(bits_for(len(sets))) if len(sets) > 1 else 0
    if index >= len(sets):
        raise HeaderError(f"it refers to reference picture set {index} of {len(sets)}")
    return sets[index]


def _long_term(bits: BitReader, sps: Sps) -> tuple[tuple[tuple[int, int | None], ...], int]:
    """The long-term pictures that are kept, and how many of them the picture itself may refer to."""
    listed = len(sps.long_term_lsbs)
    from_sps = bits.ue(listed, "num_long_term_sps") if listed else 0
    sent = bits.ue(33, "num_long_term_pics")
    kept: list[tuple[int, int | None]] = []
    used_count = 0
    cycle = 0
    for index in range(from_sps + sent):
        if index < from_sps:
            entry = bits.u(bits_for(listed))
            if entry >= listed:
                raise HeaderError(f"it refers to long-term picture {entry} of {listed}")
            lsb, used = sps.long_term_lsbs[entry], sps.long_term_used[entry]
        else:
            lsb, used = bits.u(sps.poc_lsb_bits), bits.flag()
        if index in (0, from_sps):
            cycle = 0  # the two lists count their cycles apart (7-52)
        cycle_present = bits.flag()
        if cycle_present:
            cycle += bits.ue(2**32 - 2, "delta_poc_msb_cycle_lt")
        kept.append((lsb, cycle if cycle_present else None))
        used_count += used
    return tuple(kept), used_count


def _skip_inter_fields(
    bits: BitReader, sps: Sps, pps: Pps, slice_type: int, used: int, temporal_mvp: bool
) -> None:
    """Passes over the fields that only P and B slices have, between the SAO flags and slice_qp_delta."""
    l0, l1 = pps.num_ref_idx_l0, pps.num_ref_idx_l1
    if bits.flag():
        l0 = bits.ue(MOST_REFERENCES - 1, "num_ref_idx_l0_active_minus1") + 1
        if slice_type == B:
            l1 = bits.ue(MOST_REFERENCES - 1, "num_ref_idx_l1_active_minus1") + 1
    if not used:
        raise HeaderError("an inter slice has no picture to refer to")
    lists = (l0, l1) if slice_type == B else (l0,)
    if pps.lists_modification_present and used > 1:
        for length in lists:
            if bits.flag():
                bits.skip(length * bits_for(used))
    if slice_type == B:
        bits.skip(1)  # mvd_l1_zero
    if pps.cabac_init_present:
        bits.skip(1)
    if temporal_mvp:
        from_l0 = slice_type == P or bits.flag()
        length = l0 if from_l0 else l1
        if length > 1:
            bits.ue(length - 1, "collocated_ref_idx")
    if (pps.weighted_pred and slice_type == P) or (pps.weighted_bipred and slice_type == B):
        _skip_weights(bits, sps.chroma, lists)
    bits.ue(4, "five_minus_max_num_merge_cand")


def _skip_weights(bits: BitReader, chroma: bool, lists: tuple[int, ...]) -> None:
    """pred_weight_table() (7.3.6.3); offsets reach 2^15 with high_precision_offsets (7.4.7.3)."""
    bits.ue(7, "luma_log2_weight_denom")
    if chroma:
        bits.se(-7, 7, "delta_chroma_log2_weight_denom")
    for length in lists:
        luma = bits.u(length)
        coloured = bits.u(length) if chroma else 0
        for index in reversed(range(length)):
            if luma >> index & 1:
                bits.se(-128, 127, "delta_luma_weight")
                bits.se(-(2**15), 2**15 - 1, "luma_offset")
            if coloured >> index & 1:
                for _ in range(2):
                    bits.se(-128, 127, "delta_chroma_weight")
                    bits.se(-(2**17), 2**17 - 1, "delta_chroma_offset")
