"""Passing over quantisation matrices, which stand between fields that matter (H.265, 7.3.4)."""

from vqe_cli.bitstream.bits import BitReader


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
