"""What stands inside parameter sets and slice headers: reference picture sets, which are kept, and
quantisation matrices and video usability information, which are passed over (H.265, 7.3.4, 7.3.7, Annex E).
"""

from collections.abc import Sequence
from typing import NamedTuple

from vqe_cli.bitstream.nal import BitReader, HeaderError

MOST_PICTURES = 16  # MaxDpbSize of the highest levels (A.4.2)


class ShortTermSet(NamedTuple):
    """A short-term reference picture set: POC distances, nearest first, and whether the picture itself uses
    each.

    before: negative distances (DeltaPocS0); after: positive ones (DeltaPocS1).
    """

    before: tuple[int, ...]
    before_used: tuple[bool, ...]
    after: tuple[int, ...]
    after_used: tuple[bool, ...]

    @property
    def used_count(self) -> int:
        """How many pictures of the set the current picture may refer to."""
        return sum(self.before_used) + sum(self.after_used)


EMPTY = ShortTermSet((), (), (), ())


def read_short_term_set(bits: BitReader, known: Sequence[ShortTermSet], in_slice: bool) -> ShortTermSet:
    """st_ref_pic_set(len(known)) (7.3.7); in_slice: it stands in a slice header, not in the SPS."""
    if known and bits.flag():
        return _predicted(bits, known, in_slice)
    before_count = bits.ue(MOST_PICTURES, "num_negative_pics")
    after_count = bits.ue(MOST_PICTURES - before_count, "num_positive_pics")
    before, before_used = _distances(bits, before_count, -1)
    after, after_used = _distances(bits, after_count, 1)
    return ShortTermSet(before, before_used, after, after_used)


def _distances(bits: BitReader, count: int, sign: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    distances: list[int] = []
    used: list[bool] = []
    distance = 0
    for _ in range(count):
        distance += sign * (bits.ue(2**15 - 1, "delta_poc_minus1") + 1)
        distances.append(distance)
        used.append(bits.flag())
    return tuple(distances), tuple(used)


def _predicted(bits: BitReader, known: Sequence[ShortTermSet], in_slice: bool) -> ShortTermSet:
    """A set coded as the difference to an earlier one (equations 7-59 … 7-62)."""
    back = bits.ue(len(known) - 1, "delta_idx_minus1") + 1 if in_slice else 1
    source = known[-back]
    negative = bits.flag()
    shift = bits.ue(2**15 - 1, "abs_delta_rps_minus1") + 1
    if negative:
        shift = -shift
    # The source's pictures in its own order, then the source's owner itself (distance 0).
    distances = (*source.before, *source.after, 0)
    used: list[bool] = []
    kept: list[bool] = []
    for _ in distances:
        used.append(bits.flag())
        kept.append(used[-1] or bits.flag())
    moved = [(d + shift, u) for d, u, k in zip(distances, used, kept, strict=True) if k]
    before = sorted(((d, u) for d, u in moved if d < 0), reverse=True)
    after = sorted((d, u) for d, u in moved if d > 0)
    if len(before) + len(after) > MOST_PICTURES:
        raise HeaderError(f"a reference picture set holds {len(before) + len(after)} pictures")
    return ShortTermSet(
        tuple(d for d, _ in before),
        tuple(u for _, u in before),
        tuple(d for d, _ in after),
        tuple(u for _, u in after),
    )


def skip_scaling_lists(bits: BitReader) -> None:
    """Passes over scaling_list_data()."""
    for size_id in range(4):
        for _ in range(2 if size_id == 3 else 6):
            if not bits.flag():
                bits.ue(5, "scaling_list_pred_matrix_id_delta")
                continue
            if size_id > 1:
                bits.se(-7, 247, "scaling_list_dc_coef_minus8")
            for _ in range(min(64, 16 << 2 * size_id)):
                bits.se(-128, 127, "scaling_list_delta_coef")


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
