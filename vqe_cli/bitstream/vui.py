"""Passing over video usability information, behind which the SPS extensions stand (H.265, Annex E)."""

from vqe_cli.bitstream.bits import BitReader

ANY = 2**32 - 2  # the largest ue(v) of the standard, for fields that are not judged


def skip_vui(bits: BitReader, max_sub_layers: int) -> int | None:
    """Passes over vui_parameters() (E.2.1); gives chroma_sample_loc_type_top_field or None."""
    chroma_location = None
    if bits.flag() and bits.u(8) == 255:  # aspect_ratio_idc: a ratio of its own follows
        bits.skip(32)
    if bits.flag():  # overscan
        bits.skip(1)
    if bits.flag():  # video_signal_type
        bits.skip(4)
        if bits.flag():
            bits.skip(24)
    if bits.flag():  # chroma siting
        chroma_location = bits.ue(5, "chroma_sample_loc_type_top_field")
        bits.ue(5, "chroma_sample_loc_type_bottom_field")
    bits.skip(3)
    if bits.flag():  # default display window
        for _ in range(4):
            bits.ue(ANY, "def_disp_win_offset")
    if bits.flag():
        _skip_timing(bits, max_sub_layers)
    if bits.flag():  # bitstream restrictions
        bits.skip(3)
        bits.ue(4095, "min_spatial_segmentation_idc")
        for name in ("max_bytes_per_pic_denom", "max_bits_per_min_cu_denom"):
            bits.ue(16, name)
        for name in ("log2_max_mv_length_horizontal", "log2_max_mv_length_vertical"):
            bits.ue(16, name)
    return chroma_location


def _skip_timing(bits: BitReader, max_sub_layers: int) -> None:
    bits.skip(64)
    if bits.flag():
        bits.ue(ANY, "vui_num_ticks_poc_diff_one_minus1")
    if bits.flag():
        _skip_hrd(bits, max_sub_layers)


def _skip_hrd(bits: BitReader, max_sub_layers: int) -> None:
    """hrd_parameters(1, max_sub_layers - 1) (E.2.2)."""
    models = bits.flag() + bits.flag()  # one for NAL and one for VCL conformance
    sub_pictures = False
    if models:
        sub_pictures = bits.flag()
        if sub_pictures:
            bits.skip(19)
        bits.skip(8)
        if sub_pictures:
            bits.skip(4)
        bits.skip(15)
    for _ in range(max_sub_layers):
        _skip_sub_layer(bits, models, sub_pictures)


def _skip_sub_layer(bits: BitReader, models: int, sub_pictures: bool) -> None:
    low_delay = False
    fixed_rate = bits.flag() or bits.flag()  # in general, or at least within the sequence
    if fixed_rate:
        bits.ue(2047, "elemental_duration_in_tc_minus1")
    else:
        low_delay = bits.flag()
    buffers = 1 if low_delay else bits.ue(31, "cpb_cnt_minus1") + 1
    for _ in range(models * buffers):
        for _ in range(4 if sub_pictures else 2):
            bits.ue(ANY, "bit_rate or cpb_size")
        bits.skip(1)
