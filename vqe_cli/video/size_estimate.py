"""How many bytes a written video will take: a range, since most of it depends on the pictures."""

from dataclasses import dataclass

import av

# Bits of a pixel at CRF 0, least and most, of 4:2:0 at 8 bits; how many steps of CRF halve them. The least
# is for clean pictures that hardly move, the most for noise; drawn wide around the sample clips (first eight
# pictures, x265 medium): bunny 1.00 bits at CRF 2, 0.37 at 12; signing 0.46, 0.17, and 0.06 at 28.
CRF_BITS = {
    "libx265": (0.4, 9.0, 6.0),
    "libx264": (0.4, 9.0, 6.0),
    "libsvtav1": (0.4, 9.0, 10.0),
    "libaom-av1": (0.4, 9.0, 10.0),
    "libvpx-vp9": (0.4, 9.0, 10.0),
}
# CRFs that are reckoned with where the user chose another way to say how good it should be.
CRF_UNKNOWN = (0.0, 40.0)
# Share of the uncompressed pictures, least and most, by codec without a CRF. bunny takes 0.40 with FFV1, and
# 0.30 with ProRes. Anything may come out of an encoder that is not known here.
SHARES = {"rawvideo": (1.0, 1.0), "ffv1": (0.2, 0.8), "png": (0.1, 0.8), "prores_ks": (0.07, 0.4)}
SHARE_UNKNOWN = (0.002, 1.0)


@dataclass(frozen=True)
class SizeEstimate:
    """Bytes that will be written: at least `low`, hardly more than `high`."""

    low: int
    high: int

    def plus(self, other: int) -> "SizeEstimate":
        """With up to `other` bytes beside it."""
        return SizeEstimate(self.low, self.high + other)


def estimated_size(
    codec: str, pix_fmt: str, crf: float | None, size: tuple[int, int], frames: int
) -> SizeEstimate:
    """Bytes of `frames` pictures of `size` (width, height); crf: None where it is unsaid."""
    described = av.VideoFormat(pix_fmt)
    pixels = size[0] * size[1] * frames
    if codec in CRF_BITS:
        least, most, halved_by = CRF_BITS[codec]
        good, poor = CRF_UNKNOWN if crf is None else (crf, crf)
        samples = described.bits_per_pixel / 12
        low, high = least * 2 ** (-poor / halved_by), most * 2 ** (-good / halved_by) * samples
    else:
        low, high = (share * described.padded_bits_per_pixel for share in SHARES.get(codec, SHARE_UNKNOWN))
    return SizeEstimate(int(pixels * low / 8), int(pixels * high / 8))
