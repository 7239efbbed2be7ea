#!/usr/bin/env python3
"""How much CPU time the engines take for a frame: python tools/engine_speed.py [--against CLONE]

Each engine, and an older clone of this repository where one is given, runs in a process of its own with one
thread; they take turns on the same picture or clip of noise, so that what else the machine does bears on all
alike. Shown are the least and the median of the turns, and each way's least over that of the first.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vqe_cli.cli.bench import report  # noqa: E402

# Runs in each process: once to warm up, then once for every line that it reads, and writes the ms that took.
RUN = """
import sys, time
import torch
from vqe_cli.restore.device import choose
from vqe_cli.weights.load import load_network
from vqe_cli.weights.registry import find
model, scale, width, height, precision, *engine = sys.argv[1:]
torch.set_num_threads(1)
compute = choose("cpu", precision, *engine)
network = compute.prepare(load_network(find(model, int(scale)).stages[-1]))
frames = 4 if network.is_video else 1
torch.manual_seed(0)
coarse = torch.rand(frames, 3, int(height) // 16, int(width) // 16)
clip = torch.nn.functional.interpolate(coarse, (int(height), int(width)), mode="bicubic").clamp(0, 1)
qp = torch.full((frames,), 37.0)
if network.is_video:
    call = lambda: network(clip[None], None, qp[None])
else:
    call = lambda: network(clip.contiguous(memory_format=torch.channels_last), qp)
with compute.running():
    call()
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.process_time()
        call()
        print(1000 * (time.process_time() - began) / frames, flush=True)
"""


@dataclass
class Way:
    """One way to compute: its name and process."""

    name: str
    process: "subprocess.Popen[str]"

    def turn(self) -> float:
        """Milliseconds of CPU time a frame, of one more run."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def started(name: str, tree: Path, arguments: Sequence[str]) -> Way:
    """A way that is ready to run; tree: the clone whose code it uses."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *arguments],
        cwd=tree,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit(f"{name} does not run")
    return Way(name, process)


def measured(ways: Sequence[Way], turns: int) -> list[dict[str, Any]]:
    """A row for each way, which take turns."""
    taken: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(turns):
        for way in ways:
            taken[way.name].append(way.turn())
    first = min(taken[ways[0].name])
    return [
        {"way": name, "least_ms": min(ms), "median_ms": statistics.median(ms), "ratio": min(ms) / first}
        for name, ms in taken.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--model", default="fast", help="the last stage of this pipeline runs")
    parser.add_argument("--scale", default="1")
    parser.add_argument("--size", default="480x272", metavar="WIDTHxHEIGHT")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--against", type=Path, metavar="CLONE", help="an older clone, which comes first")
    chosen = parser.parse_args(arguments)
    same = [chosen.model, chosen.scale, *chosen.size.split("x"), chosen.precision]
    ways = [started(chosen.against.name, chosen.against.absolute(), same)] if chosen.against else []
    try:
        ways += [started(engine, ROOT, [*same, engine]) for engine in ("torch", "openvino")]
        report("Engines", {"CPU time of a frame, one thread": measured(ways, chosen.turns)}, None)
    finally:
        for way in ways:
            way.process.kill()


if __name__ == "__main__":
    main()
