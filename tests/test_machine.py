"""What the machine gives to a process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from vqe_cli.machine import keep_freed_memory
{first}

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(50_000_000, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(), faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back at once")
def test_freed_memory_is_kept() -> None:
    """A large array a third time: its pages are there."""
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS.format(first=first)], capture_output=True).stdout)
        for first in ("", "keep_freed_memory()")
    )
    assert kept < 10 < given_back  # with huge pages, too
