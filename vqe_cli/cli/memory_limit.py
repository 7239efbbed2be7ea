"""A limit of memory that a shell or a queue has set (`ulimit -v`).

Below what libraries take to start, some end the program themselves (OpenBLAS), and others fail in disguise.
"""

import os
from contextlib import suppress
from pathlib import Path

from vqe_cli.errors import OutOfMemory
from vqe_cli.machine import address_space_limit

MIB = 2**20
# Address space that Python, FFmpeg and NumPy take when `vqe inspect` starts: 300 MiB; networks take 1200 MiB.
LEAST = 256 * MIB
# Share of the limit from which on a failure is put down to it.
SPENT = 0.9
STATUS = Path("/proc/self/status")


def check() -> None:
    """Raises OutOfMemory where the limit is too low for any command; NumPy shall take less under one."""
    limit = address_space_limit()
    if limit is None:
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread takes 32 MiB when it starts
    if limit < LEAST:
        raise OutOfMemory(
            f"this process may take only {limit // MIB} MiB of memory, which is not enough memory.",
            "Raise the limit (ulimit -v) to 2 GiB or more.",
        )


def is_spent() -> bool:
    """Whether this process has taken nearly all that it may."""
    limit = address_space_limit()
    with suppress(OSError, ValueError, StopIteration):
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        peak = next(line for line in lines if line.startswith("VmPeak:"))
        return limit is not None and int(peak.split()[1]) * 1024 > SPENT * limit
    return False
