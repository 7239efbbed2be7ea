#!/usr/bin/env python3
"""Frames a second of the bundled networks on a GPU, and what makes them faster; one JSON comes out.

    python tools/gpu_bench.py --out gpu.json [--minutes 8] [--device cuda]

Needs this repository, PyTorch, numpy and safetensors, and no PyAV: pictures are random numbers, since the
networks' time does not depend on them. Each way of running is measured until its share of the time is over;
a way that this machine cannot run is recorded with its reason. On a CPU (`--device cpu --size 64x48`) it
shows that everything works.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vqe_cli.weights.load import load_stages  # noqa: E402
from vqe_cli.weights.registry import find  # noqa: E402

SIZES = ("1920x1080", "480x272")
MODELS = ("fast", "balanced")
CLIP_FRAMES, CONTEXT = 12, 4  # of video networks: frames given, of which the outer ones are context
WARM_UP = 3
MATRIX_SIDE, MATRIX_ROUNDS = 8192, 20


@dataclass(frozen=True)
class Way:
    """One way of running a network."""

    name: str
    """As reported."""
    frames: int = 1
    """Pictures given at once to an image network."""
    half: bool = True
    """Computes in bfloat16."""
    channels_last: bool = True
    """Memory layout."""
    compiled: bool = False
    """By torch.compile."""
    graph: bool = False
    """As a CUDA graph."""
    streams: int = 1
    """CUDA streams side by side."""


WAYS = (
    Way("float32, contiguous", half=False, channels_last=False),
    Way("bf16, contiguous", channels_last=False),
    Way("bf16, channels last"),
    Way("bf16, channels last, 4 pictures at once", frames=4),
    Way("bf16, channels last, CUDA graph", graph=True),
    Way("bf16, channels last, torch.compile", compiled=True),
    Way("bf16, channels last, two streams", streams=2),
)


def main(arguments: list[str] | None = None) -> int:
    """Measure everything and write the report; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", action="append", metavar="WIDTHxHEIGHT", help=f"default: {' '.join(SIZES)}")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    sizes = given.size or list(SIZES)
    rows: list[dict[str, Any]] = []
    report = {"machine": machine(device), "matrix_tflops": matrix_tflops(device), "rows": rows}
    share_s = 60 * given.minutes / (len(sizes) * len(MODELS) * len(WAYS))
    for model in MODELS:
        network = load_stages(find(model, 1))[0]
        for size in sizes:
            width, height = map(int, size.split("x"))
            for way in WAYS:
                row = {"model": model, "size": size, "way": way.name}
                row |= measured(network, way, (height, width), device, share_s)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
                given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def machine(device: torch.device) -> dict[str, str]:
    """What was measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {"device": name, "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


def matrix_tflops(device: torch.device) -> float:
    """TFLOP/s of a large bf16 matrix product: what the device can do at best."""
    side = MATRIX_SIDE if device.type == "cuda" else 512
    a, b = (torch.rand(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    a @ b
    synchronise(device)
    began = time.perf_counter()
    for _ in range(MATRIX_ROUNDS):
        a @ b
    synchronise(device)
    return round(2 * side**3 * MATRIX_ROUNDS / (time.perf_counter() - began) / 1e12, 3)


def measured(
    network: nn.Module, way: Way, size: tuple[int, int], device: torch.device, seconds: float
) -> dict[str, Any]:
    """Frames a second of one way, memory and operations; or why it cannot be run here."""
    if device.type != "cuda" and (way.graph or way.compiled or way.streams > 1):
        return {"skipped": "only on CUDA"}
    if network.is_video and way.frames > 1:
        return {"skipped": "clips are batches already"}
    try:
        return timed(network, way, size, device, seconds)
    except (RuntimeError, AttributeError, ImportError) as error:
        return {"failed": f"{type(error).__name__}: {error}"[:300]}
    finally:
        torch.compiler.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()


@torch.inference_mode()
def timed(
    network: nn.Module, way: Way, size: tuple[int, int], device: torch.device, seconds: float
) -> dict[str, Any]:
    """Frames a second (median and best of rounds), peak memory and TFLOP/s of one way."""
    run, frames, operations = prepared(network, way, size, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for _ in range(WARM_UP):
        run()
    synchronise(device)
    rounds = []
    ends = time.perf_counter() + seconds
    while len(rounds) < 3 or time.perf_counter() < ends:
        began = time.perf_counter()
        run()
        synchronise(device)
        rounds.append(time.perf_counter() - began)
    median = statistics.median(rounds)
    result = {
        "fps": round(frames / median, 2),
        "fps_best": round(frames / min(rounds), 2),
        "rounds": len(rounds),
        "tflops": round(operations / median / 1e12, 3),
    }
    if device.type == "cuda":
        result["peak_mib"] = torch.cuda.max_memory_allocated(device) >> 20
    return result


def prepared(
    network: nn.Module, way: Way, size: tuple[int, int], device: torch.device
) -> tuple[Callable[[], None], int, int]:
    """A function that runs the network once, the frames that it gives, and its operations."""
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    copy = deepcopy(network).to(device).to(memory_format=layout).eval()  # type: ignore[call-overload]
    inputs, frames = pictures(copy, way, size, device)

    def once(given: tuple[Any, ...] = inputs) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16) if way.half else nullcontext():
            out: Tensor = copy(*given)
        return out

    with FlopCounterMode(display=False) as counter:
        once()
    if way.compiled:
        copy.compile()
    if way.graph:
        return graphed(once), frames, counter.get_total_flops()
    if way.streams > 1:
        streams = [torch.cuda.Stream(device) for _ in range(way.streams)]

        def side_by_side() -> None:
            for stream in streams:
                with torch.cuda.stream(stream):
                    once()

        return side_by_side, frames * way.streams, counter.get_total_flops() * way.streams
    return lambda: (once(), None)[1], frames, counter.get_total_flops()


def pictures(
    network: nn.Module, way: Way, size: tuple[int, int], device: torch.device
) -> tuple[tuple[Any, ...], int]:
    """What the network is called with, and how many frames of it count."""
    if network.is_video:
        clip = torch.rand(1, CLIP_FRAMES, 3, *size, device=device)
        peaks = torch.zeros(1, CLIP_FRAMES, dtype=torch.bool)
        peaks[:, ::4] = True
        qp = torch.full((1, CLIP_FRAMES), 37.0, device=device)
        keep = slice(CONTEXT, CLIP_FRAMES - CONTEXT)
        return (clip, peaks, qp, keep), CLIP_FRAMES - 2 * CONTEXT
    x = torch.rand(way.frames, 3, *size, device=device)
    if way.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return (x, torch.full((way.frames,), 37.0, device=device)), way.frames


def graphed(once: Callable[[], Tensor]) -> Callable[[], None]:
    """The same as one CUDA graph, which is launched as a whole."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            once()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return graph.replay


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
