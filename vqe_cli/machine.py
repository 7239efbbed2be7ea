"""What the machine lets this process have: cores, address space and memory."""

import os
import sys
from functools import cache

# glibc's `mallopt`: which parameter, and the value (malloc.h).
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> None:
    """Has this process keep large blocks that are freed for the next ones, where its C library is glibc.

    It returns each to the system otherwise, which then clears a new one page by page: a quarter of the time
    of `fast` on a CPU, a sixth of that of `balanced` (docs/results.md), and a tenth of a training step on two
    threads.
    """
    if sys.platform != "linux":
        return
    import ctypes

    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, NEVER)


def usable_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def address_space_limit() -> int | None:
    """Bytes of address space that this process may take (`ulimit -v`), None without a limit."""
    if sys.platform == "win32":
        return None
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft
