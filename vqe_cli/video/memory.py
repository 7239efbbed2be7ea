"""What pictures take of the memory that is there, asked before they are decoded: a small file can hold huge
ones.
"""

import os
from contextlib import suppress
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
