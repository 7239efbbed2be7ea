"""Out of memory: which batch would have fitted, or what else would help."""

import ctypes
import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vqe_cli.errors import VqeError, is_out_of_memory

# Parameters of glibc's mallopt and what they are set to (malloc.h): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD (its
# greatest value), M_ARENA_MAX.
MALLOPT = {-1: 2**31 - 1, -3: 2**25, -8: 1}


def keep_freed() -> None:
    """Let glibc keep what is freed for the next step, instead of giving it back to the system and fetching it
    page by page again; does nothing with other C libraries.

    A training step frees all its activations; on two threads fetching took a tenth of the time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in MALLOPT.items():
        mallopt(parameter, value)


@contextmanager
def explained(trial: Callable[[int], Tensor] | None, batch: int) -> Iterator[None]:
    """Turn running out of memory into the advice which batch fits.

    trial: runs a step's forward and backward pass with so many clips; None where that cannot be tried.
    batch: clips of the step that failed.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # The frames of the failed step would keep its activations alive.
        traceback.clear_frames(error.__traceback__)
        fits = batch // 2 if trial is None else largest_fitting(trial, batch - 1)
        remedy = (
            f"--set data.batch={fits} {'fits' if trial else 'may fit'}."
            if fits
            else "Not even one clip fits: lower data.crop or data.frames, or take a smaller network."
        )
        raise VqeError(f"out of memory with {batch} clips a step (data.batch).", remedy) from None


@contextmanager
def explained_outside_steps(doing: str, remedy: str) -> Iterator[None]:
    """Turn running out of memory where no batch is at fault into a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise VqeError(f"out of memory while {doing}.", remedy) from None


def largest_fitting(trial: Callable[[int], Tensor], most: int) -> int:
    """The largest number of clips up to `most` that `trial` gets through, 0 for none."""
    fits, too_many = 0, most + 1
    while too_many - fits > 1:
        count = (fits + too_many) // 2
        free()
        try:
            trial(count)
            fits = count
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
            too_many = count
    free()
    return fits


def free() -> None:
    """Give unused memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
