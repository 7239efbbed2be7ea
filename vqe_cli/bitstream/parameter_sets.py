"""Sequence and picture parameter sets: what a slice header needs of them (H.265, 7.3.2.2 and 7.3.2.3).

The video parameter set holds nothing that a slice header of the base layer depends on, and is not read.
"""

from dataclasses import dataclass

from vqe_cli.bitstream.nal import BitReader, HeaderError
from vqe_cli.bitstream.structures import (
    ANY,
    MOST_PICTURES,
    ShortTermSet,
    read_short_term_set,
    skip_scaling_lists,
    skip_vui,
)

MOST_SAMPLES_ACROSS = 65536  # far above level 6.2's largest side (16,888)


@dataclass(frozen=True, slots=True)
class Sps:
    """Sequence parameter set (H.265, 7.3.2.2)."""

    sps_id: int
    """sps_seq_parameter_set_id."""
    chroma: bool
    """ChromaArrayType is not 0."""
    separate_colour_plane: bool
    """separate_colour_plane_flag."""
    qp_offset: int
    """QpBdOffsetY: how far luma QPs may go below 0."""
    poc_lsb_bits: int
    """Length of slice_pic_order_cnt_lsb."""
    reorder: int
    """sps_max_num_reorder_pics of the highest sub-layer."""
    latency: int
    """sps_max_latency_increase_plus1 of the highest sub-layer."""
    buffering: int
    """sps_max_dec_pic_buffering_minus1 of the highest sub-layer."""
    address_bits: int
    """Length of slice_segment_address."""
    sao: bool
    """sample_adaptive_offset_enabled_flag."""
    short_term_sets: tuple[ShortTermSet, ...]
    """st_ref_pic_set(i)."""
    long_term_present: bool
    """long_term_ref_pics_present_flag."""
    long_term_lsbs: tuple[int, ...]
    """lt_ref_pic_poc_lsb_sps."""
    long_term_used: tuple[bool, ...]
    """used_by_curr_pic_lt_sps_flag."""
    temporal_mvp: bool
    """sps_temporal_mvp_enabled_flag."""
    chroma_location: int | None = None
    """chroma_sample_loc_type_top_field; None where the VUI does not say it."""


@dataclass(frozen=True, slots=True)
class Pps:
    """Picture parameter set (H.265, 7.3.2.3)."""

    pps_id: int
    """pps_pic_parameter_set_id."""
    sps_id: int
    """pps_seq_parameter_set_id."""
    dependent_slice_segments: bool
    """dependent_slice_segments_enabled_flag."""
    output_flag_present: bool
    """output_flag_present_flag."""
    num_extra_slice_header_bits: int
    """Of that name."""
    cabac_init_present: bool
    """cabac_init_present_flag."""
    num_ref_idx_l0: int
    """num_ref_idx_l0_default_active_minus1 + 1."""
    num_ref_idx_l1: int
    """num_ref_idx_l1_default_active_minus1 + 1."""
    init_qp: int
    """26 + init_qp_minus26."""
    weighted_pred: bool
    """weighted_pred_flag."""
    weighted_bipred: bool
    """weighted_bipred_flag."""
    lists_modification_present: bool
    """lists_modification_present_flag."""


def bits_for(count: int) -> int:
    """Ceil(Log2(count)): the length of a fixed-length field with `count` values."""
    return (count - 1).bit_length()


def read_sps(rbsp: bytes) -> Sps:
    """The SPS in a NAL unit's payload; raises HeaderError for broken ones, and 3D or screen content tools."""
    bits = BitReader(rbsp)
    sub_layers, sps_id = sps_identity(bits)
    chroma_format = bits.ue(3, "chroma_format_idc")
    separate = chroma_format == 3 and bits.flag()
    width = bits.ue(MOST_SAMPLES_ACROSS, "pic_width_in_luma_samples")
    height = bits.ue(MOST_SAMPLES_ACROSS, "pic_height_in_luma_samples")
    if not width or not height:
        raise HeaderError("the SPS says a picture without samples")
    if bits.flag():
        for _ in range(4):
            bits.ue(MOST_SAMPLES_ACROSS, "conf_win_offset")
    depth = 8 + bits.ue(8, "bit_depth_luma_minus8")
    bits.ue(8, "bit_depth_chroma_minus8")
    poc_lsb_bits = 4 + bits.ue(12, "log2_max_pic_order_cnt_lsb_minus4")
    reorder, latency, buffering = _ordering(bits, sub_layers)
    address_bits = _address_bits(bits, width, height)
    sao = _coding_tools(bits)
    sets: list[ShortTermSet] = []
    for _ in range(bits.ue(64, "num_short_term_ref_pic_sets")):
        sets.append(read_short_term_set(bits, sets, in_slice=False))
    lsbs: list[int] = []
    used: list[bool] = []
    long_term = bits.flag()
    if long_term:
        for _ in range(bits.ue(32, "num_long_term_ref_pics_sps")):
            lsbs.append(bits.u(poc_lsb_bits))
            used.append(bits.flag())
    temporal_mvp = bits.flag()
    bits.skip(1)  # strong_intra_smoothing
    chroma_location = skip_vui(bits, sub_layers) if bits.flag() else None
    _sps_extensions(bits)
    return Sps(
        sps_id=sps_id,
        chroma=chroma_format != 0 and not separate,
        separate_colour_plane=separate,
        qp_offset=6 * (depth - 8),
        poc_lsb_bits=poc_lsb_bits,
        reorder=reorder,
        latency=latency,
        buffering=buffering,
        address_bits=address_bits,
        sao=sao,
        short_term_sets=tuple(sets),
        long_term_present=long_term,
        long_term_lsbs=tuple(lsbs),
        long_term_used=tuple(used),
        temporal_mvp=temporal_mvp,
        chroma_location=chroma_location,
    )


def sps_identity(bits: BitReader) -> tuple[int, int]:
    """Sub-layers (1 … 7) and the SPS's id, the fields before and behind profile_tier_level() (7.3.3)."""
    bits.skip(4)
    sub_layers = bits.u(3) + 1
    if sub_layers > 7:
        raise HeaderError("sps_max_sub_layers_minus1 is 7")
    bits.skip(1 + 96)
    present = [(bits.flag(), bits.flag()) for _ in range(sub_layers - 1)]
    if sub_layers > 1:
        bits.skip(2 * (9 - sub_layers))
    for profile, level in present:
        bits.skip(88 * profile + 8 * level)
    return sub_layers, bits.ue(15, "sps_seq_parameter_set_id")


def _ordering(bits: BitReader, sub_layers: int) -> tuple[int, int, int]:
    """(reorder, latency, buffering) of the highest sub-layer, the last one sent."""
    result = (0, 0, 0)
    for _ in range(sub_layers if bits.flag() else 1):
        buffering = bits.ue(MOST_PICTURES - 1, "sps_max_dec_pic_buffering_minus1")
        reorder = bits.ue(MOST_PICTURES, "sps_max_num_reorder_pics")
        result = (reorder, bits.ue(ANY, "sps_max_latency_increase_plus1"), buffering)
    return result


def _address_bits(bits: BitReader, width: int, height: int) -> int:
    smallest = 3 + bits.ue(3, "log2_min_luma_coding_block_size_minus3")
    block = smallest + bits.ue(6 - smallest, "log2_diff_max_min_luma_coding_block_size")
    blocks = -(-width >> block) * -(-height >> block)
    return bits_for(blocks)


def _coding_tools(bits: BitReader) -> bool:
    """Passes over the fields from transform sizes to PCM; sample_adaptive_offset_enabled_flag of them."""
    bits.ue(3, "log2_min_luma_transform_block_size_minus2")
    bits.ue(3, "log2_diff_max_min_luma_transform_block_size")
    bits.ue(4, "max_transform_hierarchy_depth_inter")
    bits.ue(4, "max_transform_hierarchy_depth_intra")
    if bits.flag() and bits.flag():
        skip_scaling_lists(bits)
    bits.skip(1)  # amp
    sao = bits.flag()
    if bits.flag():  # PCM
        bits.skip(8)
        bits.ue(2, "log2_min_pcm_luma_coding_block_size_minus3")
        bits.ue(2, "log2_diff_max_min_pcm_luma_coding_block_size")
        bits.skip(1)
    return sao


def _sps_extensions(bits: BitReader) -> None:
    """Checks what follows the VUI: range extensions (7.3.2.2.2) change no slice header, others do."""
    if bits.flag():
        has_range, multilayer, three_d, screen_content = (bits.flag() for _ in range(4))
        unknown = bits.u(4)
        bits.skip(9 * has_range + multilayer)
        if three_d or screen_content:
            raise HeaderError("the stream uses 3D or screen content coding extensions, which are not read")
        if unknown:
            return
    if not bits.at_trailing_bits():
        raise HeaderError("the SPS does not end where it should")


def read_pps(rbsp: bytes) -> Pps:
    """The PPS in a NAL unit's payload; raises HeaderError for broken ones, and 3D or screen content tools."""
    bits = BitReader(rbsp)
    pps_id = bits.ue(63, "pps_pic_parameter_set_id")
    sps_id = bits.ue(15, "pps_seq_parameter_set_id")
    dependent, output_flag = bits.flag(), bits.flag()
    extra_bits = bits.u(3)
    bits.skip(1)  # sign_data_hiding
    cabac_init = bits.flag()
    references = [bits.ue(14, f"num_ref_idx_l{k}_default_active_minus1") + 1 for k in range(2)]
    init_qp = 26 + bits.se(-26 - 48, 25, "init_qp_minus26")
    bits.skip(1)  # constrained_intra_pred
    transform_skip = bits.flag()
    if bits.flag():  # cu_qp_delta_enabled
        bits.ue(3, "diff_cu_qp_delta_depth")
    for name in ("pps_cb_qp_offset", "pps_cr_qp_offset"):
        bits.se(-12, 12, name)
    bits.skip(1)  # pps_slice_chroma_qp_offsets_present: those follow slice_qp_delta
    weighted_pred, weighted_bipred = bits.flag(), bits.flag()
    bits.skip(1)  # transquant_bypass
    _skip_tiles_and_filters(bits)
    lists_modification = bits.flag()
    bits.ue(4, "log2_parallel_merge_level_minus2")
    bits.skip(1)  # slice_segment_header_extension_present: it follows slice_qp_delta
    _pps_extensions(bits, transform_skip)
    return Pps(
        pps_id=pps_id,
        sps_id=sps_id,
        dependent_slice_segments=dependent,
        output_flag_present=output_flag,
        num_extra_slice_header_bits=extra_bits,
        cabac_init_present=cabac_init,
        num_ref_idx_l0=references[0],
        num_ref_idx_l1=references[1],
        init_qp=init_qp,
        weighted_pred=weighted_pred,
        weighted_bipred=weighted_bipred,
        lists_modification_present=lists_modification,
    )


def _skip_tiles_and_filters(bits: BitReader) -> None:
    """Passes over the fields from tiles_enabled_flag to the scaling lists."""
    tiles = bits.flag()
    bits.skip(1)  # entropy_coding_sync
    if tiles:
        columns = bits.ue(1023, "num_tile_columns_minus1")
        rows = bits.ue(1023, "num_tile_rows_minus1")
        if not bits.flag():
            for _ in range(columns + rows):
                bits.ue(MOST_SAMPLES_ACROSS, "column_width_minus1 or row_height_minus1")
        bits.skip(1)
    bits.skip(1)  # pps_loop_filter_across_slices
    if bits.flag():  # deblocking control
        bits.skip(1)
        if not bits.flag():
            bits.se(-6, 6, "pps_beta_offset_div2")
            bits.se(-6, 6, "pps_tc_offset_div2")
    if bits.flag():
        skip_scaling_lists(bits)


def _pps_extensions(bits: BitReader, transform_skip: bool) -> None:
    """Checks what ends the PPS: range extensions (7.3.2.3.2) change no slice header, screen content does."""
    if bits.flag():
        has_range, multilayer, three_d, screen_content = (bits.flag() for _ in range(4))
        unknown = bits.u(4)
        if has_range:
            _skip_pps_range_extension(bits, transform_skip)
        if three_d or screen_content:
            raise HeaderError("the stream uses 3D or screen content coding extensions, which are not read")
        if multilayer or unknown:
            return
    if not bits.at_trailing_bits():
        raise HeaderError("the PPS does not end where it should")


def _skip_pps_range_extension(bits: BitReader, transform_skip: bool) -> None:
    if transform_skip:
        bits.ue(3, "log2_max_transform_skip_block_size_minus2")
    bits.skip(1)  # cross_component_prediction
    if bits.flag():  # chroma_qp_offset_list
        bits.ue(3, "diff_cu_chroma_qp_offset_depth")
        for _ in range(bits.ue(5, "chroma_qp_offset_list_len_minus1") + 1):
            bits.se(-12, 12, "cb_qp_offset_list")
            bits.se(-12, 12, "cr_qp_offset_list")
    bits.ue(8, "log2_sao_offset_scale_luma")
    bits.ue(8, "log2_sao_offset_scale_chroma")
