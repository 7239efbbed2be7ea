#!/usr/bin/env python3
"""What the alignments of BasicVSR++ and CRDS cost: python tools/alignment_cost.py [--channels 64]

CPU time of one thread and operations, for each position of the features, forward, in float32.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vqe_cli.networks.alignment import ALIGNMENTS, new_alignment  # noqa: E402

ROUNDS = 7


@torch.inference_mode()
def measured(kind: str, channels: int, width: int, height: int) -> tuple[float, float]:
    """Nanoseconds and thousands of multiply-adds for a position."""
    align = new_alignment(kind, channels, channels, 16, 10.0).eval()
    neighbours = torch.rand(1, 2 * channels, height, width)
    cond = torch.rand(1, 3 * channels, height, width)
    flow = torch.rand(1, 2, height, width) * 4 - 2
    with FlopCounterMode(display=False) as counter:
        align(neighbours, cond, flow, flow)
    spent = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        align(neighbours, cond, flow, flow)
        spent.append(time.thread_time() - began)
    positions = width * height
    return 1e9 * statistics.median(spent) / positions, counter.get_total_flops() / 2e3 / positions


def main() -> None:
    """Print a line for each alignment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--size", default="120x68", metavar="WIDTHxHEIGHT")
    given = parser.parse_args()
    torch.set_num_threads(1)
    width, height = map(int, given.size.split("x"))
    for kind in ALIGNMENTS:
        nanoseconds, operations = measured(kind, given.channels, width, height)
        print(
            f"{kind:12} {nanoseconds:8.0f} ns {operations:8.1f} kMAC (matrix products and convolutions alone)"
        )


if __name__ == "__main__":
    main()
