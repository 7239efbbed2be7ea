"""What pictures will take: of the memory that is there, asked before they are decoded (a small file can hold
huge ones), and of the disk once they are written.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av

from vqe_cli.errors import InputError
from vqe_cli.machine import address_space_limit
from vqe_cli.video.formats import sample_format

MEMINFO = Path("/proc/meminfo")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
OWN_PAGES = Path("/proc/self/statm")
# Decoded pictures that are there at the same time whoever reads: the decoder's, its planes, those before.
LEAST_PICTURES = 3
# Pictures that an encoder holds back, with what it keeps beside each (x265: 20 of lookahead, references,
# half-size copies), in pictures of the written size.
ENCODER_PICTURES = 80
UNKNOWN_FORMAT_BITS = 32  # a pixel, where no header tells the format
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def frame_bytes(width: int, height: int, pix_fmt: str | None) -> int:
    """Bytes of one decoded picture as planes, at least of those that FFmpeg decodes."""
    try:
        names = [pix_fmt, sample_format(pix_fmt).planar] if pix_fmt else []
    except ValueError:
        names = []
    bits = max([av.VideoFormat(name).padded_bits_per_pixel for name in names], default=UNKNOWN_FORMAT_BITS)
    return width * height * bits // 8


def check_memory(path: Path, size: tuple[int, int], needed: int, remedy: str = "") -> None:
    """Raises VqeError where pictures of `size` (width, height) need more bytes than are free."""
    free, _ = machine_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{path}: pictures of {size[0]}x{size[1]} take at least {amount(needed)} of memory, and "
            f"{amount(free)} are free.",
            remedy
            or "Check that the file is intact, cut or scale it first, or use a machine with more memory.",
        )


def check_decoding(path: Path, width: int, height: int, pix_fmt: str | None) -> None:
    """Raises VqeError where pictures are too large to be decoded with the memory that is free."""
    check_memory(path, (width, height), LEAST_PICTURES * frame_bytes(width, height, pix_fmt))


def machine_memory() -> tuple[int | None, int | None]:
    """Bytes free and in all, with swap and under the limits of a container and of the process; None where it
    is unknown.
    """
    free, total = _machine()
    for taken, limit in (_group(), _process()):
        if limit is not None:
            left = max(0, limit - taken)
            free = left if free is None else min(free, left)
            total = limit if total is None else min(total, limit)
    return free, total


def amount(count: int) -> str:
    """A number of bytes for people: "1.5 GB"."""
    size, unit = float(count), 0
    while size >= 999.5 and unit + 1 < len(UNITS):
        size, unit = size / 1000, unit + 1
    return f"{size:.{0 if unit == 0 or size >= 99.5 else 1}f} {UNITS[unit]}"


def _machine() -> tuple[int | None, int | None]:
    with suppress(OSError, ValueError, KeyError):
        lines = (line.split() for line in MEMINFO.read_text().splitlines())
        amounts = {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines}
        return amounts["MemAvailable"] + amounts["SwapFree"], amounts["MemTotal"] + amounts["SwapTotal"]
    with suppress(OSError, ValueError, AttributeError):
        return None, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None, None


def _group() -> tuple[int, int | None]:
    """What the processes of a container take, without what can be dropped, and may take; None without one."""
    taken = 0
    with suppress(OSError, ValueError):
        limit = int(CGROUP_LIMIT.read_text())
        with suppress(OSError, ValueError, KeyError):
            taken = int(CGROUP_LIMIT.with_name("memory.current").read_text())
            lines = CGROUP_LIMIT.with_name("memory.stat").read_text().splitlines()
            taken -= int(dict(line.split() for line in lines)["inactive_file"])
        return max(0, taken), limit
    return 0, None


def _process() -> tuple[int, int | None]:
    """What this process takes, and may take, of addresses (`ulimit -v`)."""
    limit = address_space_limit()
    if limit is None:
        return 0, None
    with suppress(OSError, ValueError):
        return int(OWN_PAGES.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE"), limit
    return 0, limit


# --- bytes of a written video: a range, since most of it depends on the pictures ---

# Bits of a pixel at CRF 0, least and most, of 4:2:0 at 8 bits; how many steps of CRF halve them. The least
# is for clean pictures that hardly move, the most for noise; drawn wide around the sample clips (first eight
# pictures, x265 medium): bunny 1.00 bits at CRF 2, 0.37 at 12; signing 0.46, 0.17, and 0.06 at 28.
CRF_BITS = {
    "libx265": (0.4, 9.0, 6.0),
    "libx264": (0.4, 9.0, 6.0),
    "hevc_nvenc": (0.4, 9.0, 6.0),
    "hevc_qsv": (0.4, 9.0, 6.0),
    "libsvtav1": (0.4, 9.0, 10.0),
    "libaom-av1": (0.4, 9.0, 10.0),
    "libvpx-vp9": (0.4, 9.0, 10.0),
}
# CRFs that are reckoned with where the user chose another way to say how good it should be.
CRF_UNKNOWN = (0.0, 40.0)
# Share of the uncompressed pictures, least and most, by codec without a CRF. bunny takes 0.40 with FFV1, and
# 0.30 with ProRes. Anything may come out of an encoder that is not known here.
SHARES = {
    "rawvideo": (1.0, 1.0),
    "ffv1": (0.2, 0.8),
    "png": (0.1, 0.8),
    "prores_ks": (0.07, 0.4),
    "dnxhd": (0.04, 0.4),
}
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
