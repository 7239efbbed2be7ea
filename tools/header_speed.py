#!/usr/bin/env python3
"""How fast HEVC headers are read: python tools/header_speed.py [--count 100000]

The packets are made here, so that the measurement needs no file: low-delay P pictures with the syntax that HM
writes (four references, a set of them sent in the slice), half of them with weighted prediction tables, whose
header is among the longest.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vqe_cli.bitstream.packets import PacketParser  # noqa: E402
from vqe_cli.cli.bench import report  # noqa: E402

IDR_N_LP, TRAIL_R, SPS, PPS = 20, 1, 33, 34
SLICE_DATA = bytes(range(1, 256)) * 8  # about 2 kB, a picture of a few hundred kbit/s
PICTURES = 32  # different packets, used again and again
QP = 37


class _BitWriter:
    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, count: int, value: int) -> "_BitWriter":
        self._bits.append(f"{value:0{count}b}" if count else "")
        return self

    def ue(self, *values: int) -> "_BitWriter":
        for value in values:
            self.u(2 * (value + 1).bit_length() - 1, value + 1)
        return self

    def se(self, *values: int) -> "_BitWriter":
        return self.ue(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def nal(self, nal_type: int) -> bytes:
        """A NAL unit with start code and emulation prevention."""
        bits = "".join(self._bits) + "1"
        bits += "0" * (-len(bits) % 8)
        payload = bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))
        out = bytearray()
        for byte in payload:
            if out[-2:] == b"\x00\x00" and byte <= 3:
                out.append(3)
            out.append(byte)
        return b"\x00\x00\x00\x01" + bytes([nal_type << 1, 1]) + bytes(out)


def _sps() -> bytes:
    """416x240, 8 bits, no sets of its own (7.3.2.2)."""
    bits = _BitWriter().u(4, 0).u(3, 0).u(1, 1).u(88, 0).u(8, 93).ue(0, 1, 416, 240).u(1, 0).ue(0, 0, 4)
    bits.u(1, 1).ue(4, 0, 0).ue(0, 3, 0, 3, 2, 2).u(4, 0b0110).ue(0).u(1, 0).u(1, 1).u(1, 1).u(1, 0).u(1, 0)
    return bits.nal(SPS)


def _pps(pps_id: int, weighted: bool) -> bytes:
    bits = _BitWriter().ue(pps_id, 0).u(7, 0).ue(3, 3).se(0).u(3, 0).se(0, 0).u(1, 0).u(1, weighted).u(1, 0)
    bits.u(3, 0).u(4, 0b1000).ue(0).u(2, 0)
    return bits.nal(PPS)


def _slice(poc: int, weighted: bool) -> bytes:
    """A slice header up to its QP (7.3.6.1), and data that is never read."""
    if poc == 0:
        bits = _BitWriter().u(2, 0b10).ue(0, 2).u(2, 3).se(QP - 26)
        return bits.nal(IDR_N_LP) + SLICE_DATA
    references = min(4, poc)
    bits = _BitWriter().u(1, 1).ue(int(weighted), 1).u(8, poc).u(1, 0).ue(references, 0)
    for _ in range(references):
        bits.ue(0).u(1, 1)
    bits.u(1, 1).u(2, 3).u(1, 1).ue(references - 1)
    if references > 1:
        bits.ue(0)
    if weighted:
        bits.ue(6).se(0).u(references, 2**references - 1).u(references, 2**references - 1)
        for _ in range(references):
            bits.se(5, -3, 2, 40, -2, -40)
    bits.ue(0).se(QP - 26)
    return bits.nal(TRAIL_R) + SLICE_DATA


def synthetic_packets() -> list[bytes]:
    """Packets with start codes, one picture each, all of QP 37; the first has the parameter sets."""
    pictures = [_slice(poc, weighted=poc % 2 == 1) for poc in range(PICTURES)]
    return [_sps() + _pps(0, False) + _pps(1, True) + pictures[0], *pictures[1:]]


def header_speed(count: int = 100_000) -> dict[str, Any]:
    """Reads `count` pictures' headers on one core.

    Gives "headers", "seconds" (passed), "core_seconds" (computed, which a busy machine does not lengthen),
    "headers_per_s" of a core, and "unknown": pictures whose QP was not found, 0 unless the parser is broken.
    """
    packets = synthetic_packets()
    parser = PacketParser(None)
    unknown = 0
    start, core_start = time.perf_counter(), time.process_time()
    for index in range(count):
        pictures = parser.parse(packets[index % PICTURES])
        unknown += len(pictures) != 1 or pictures[0].qp != QP
    seconds, core_seconds = time.perf_counter() - start, time.process_time() - core_start
    return {
        "headers": count,
        "seconds": seconds,
        "core_seconds": core_seconds,
        "headers_per_s": count / max(core_seconds, 1e-9),
        "unknown": unknown,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--count", type=int, default=100_000, help="how many headers to read")
    parser.add_argument("--json", type=Path, metavar="FILE", help="- is stdout")
    given = parser.parse_args(arguments)
    report("HEVC headers", header_speed(given.count), given.json)


if __name__ == "__main__":
    main()
