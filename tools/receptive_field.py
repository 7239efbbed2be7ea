#!/usr/bin/env python3
"""What too little overlap of chunks and tiles costs: how far a network looks.

    python tools/receptive_field.py samples/lq/bunny.mkv --model fast

The errors are shares of the enhancement's own energy (sum of squares of output minus input), where they are
worst: in the worst frame for chunks, on the pixels where tiles meet for tiles.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gains import add_networks  # noqa: E402

from vqe_cli.cli.bench import report  # noqa: E402
from vqe_cli.errors import VqeError  # noqa: E402
from vqe_cli.restore.device import Compute  # noqa: E402
from vqe_cli.restore.engine import load  # noqa: E402
from vqe_cli.restore.marking import PeakCount, mark_peaks  # noqa: E402
from vqe_cli.restore.stages import Tiling, tiled  # noqa: E402
from vqe_cli.runs.settings import Settings  # noqa: E402
from vqe_cli.video.colour import to_rgb, to_tensors  # noqa: E402
from vqe_cli.video.sources import open_reader  # noqa: E402

CHUNK_OVERLAPS = (2, 4, 6, 8, 10, 12, 16)
TILE_OVERLAPS = (8, 16, 32, 48, 64, 96)
CHUNK = 8  # kept frames whose context is cut short


@dataclass(frozen=True)
class Clip:
    """rgb (T, 3, H, W), pqf (T,), qp (T,) of frames, on the device."""

    rgb: Tensor
    pqf: Tensor
    qp: Tensor


def errors_by_overlap(input: Path, options: dict[str, Any], frames: int = 48) -> dict[str, Any]:
    """Errors by overlap of a pipeline's first stage on the first `frames` frames of `input`.

    options: other fields of `Settings`. The result has the lists `tiles` (overlap in pixels, percent of the
    energy on the seam) and, for networks that look at neighbours, `chunks` (overlap in frames, percent in
    the worst frame, both at the worst of several places). Raises VqeError as `enhance` does.
    """
    settings = Settings(input, Path("unused.mkv"), frames=frames, **options)
    loaded = load(settings.networks)
    network, compute = loaded.networks[0], loaded.compute
    clip = read_clip(settings, compute)
    found: dict[str, Any] = {"model": loaded.pipeline.name, "input": input.name, "frames": len(clip.rgb)}
    if network.is_video:
        found["chunks"] = chunk_errors(network, clip, compute)
    few = Clip(clip.rgb[:8], clip.pqf[:8], clip.qp[:8])
    found["tiles"] = tile_errors(network, few, compute)
    return found


def read_clip(settings: Settings, compute: Compute) -> Clip:
    """The frames of a file with their peaks."""
    with open_reader(settings.input, start=settings.start, frames=settings.frames) as reader:
        marked = [frame for frame, _ in mark_peaks(((f, False) for f in reader), settings.peaks, PeakCount())]
        rgb = torch.cat([to_rgb(to_tensors(f.planes, compute.device), reader.info.colour) for f in marked])
    qps = [nan if frame.network_qp is None else frame.network_qp for frame in marked]
    pqf = torch.tensor([frame.pqf for frame in marked])
    return Clip(rgb, pqf, torch.tensor(qps, dtype=torch.float32, device=compute.device))


def run(network: nn.Module, clip: Clip, compute: Compute) -> Tensor:
    """The enhanced clip (T, 3, sH, sW), float32."""
    with compute.running():
        if network.is_video:
            out: Tensor = network(clip.rgb[None], clip.pqf[None], clip.qp[None])[0]
        else:
            out = torch.cat([network(clip.rgb[t : t + 1], clip.qp[t : t + 1]) for t in range(len(clip.rgb))])
    return out.float()


def chunk_errors(network: nn.Module, clip: Clip, compute: Compute) -> list[dict[str, Any]]:
    """The worst frame's error for each overlap, over chunks at several places in the clip."""
    need = CHUNK + 2 * max(CHUNK_OVERLAPS)
    if len(clip.rgb) < need:
        raise VqeError(f"The clip has {len(clip.rgb)} frames.", f"Give one of {need} or more.")
    whole = run(network, clip, compute)
    energy = changed(network, whole, clip).square().sum(dim=(1, 2, 3))
    rows = []
    for overlap in CHUNK_OVERLAPS:
        worst = 0.0
        for start in range(max(CHUNK_OVERLAPS), len(clip.rgb) - need + max(CHUNK_OVERLAPS) + 1, CHUNK // 2):
            window = slice(start - overlap, start + CHUNK + overlap)
            part = run(network, Clip(clip.rgb[window], clip.pqf[window], clip.qp[window]), compute)
            kept = slice(start, start + CHUNK)
            error = (part[overlap : overlap + CHUNK] - whole[kept]).square().sum(dim=(1, 2, 3))
            worst = max(worst, float((error / energy[kept]).max()))
        rows.append({"overlap_frames": overlap, "worst_frame_percent": round(100 * worst, 4)})
    return rows


def tile_errors(network: nn.Module, clip: Clip, compute: Compute) -> list[dict[str, Any]]:
    """The error on the seams for each overlap, with the picture cut once across and once down."""
    whole = run(network, clip, compute)
    scale = int(network.scale)  # type: ignore[arg-type]
    multiple = int(network.multiple)  # type: ignore[arg-type]
    rows = []
    for overlap in TILE_OVERLAPS:
        longer = max(clip.rgb.shape[-2:])
        tile = max(3 * overlap, (longer + overlap) // 2 + 2 * multiple)
        tiling = Tiling(tile, overlap, multiple)
        seam = seam_pixels((clip.rgb.shape[-2], clip.rgb.shape[-1]), tiling, scale).to(whole.device)
        if not seam.any():
            continue
        joined = tiled(
            lambda x: run(network, Clip(x, clip.pqf, clip.qp), compute), (clip.rgb,), tiling, scale
        )
        error = ((joined - whole)[..., seam]).square().sum()
        energy = changed(network, whole, clip)[..., seam].square().sum()
        rows.append({"overlap_px": overlap, "seam_percent": round(100 * float(error / energy), 4)})
    return rows


def seam_pixels(size: tuple[int, int], tiling: Tiling, scale: int = 1) -> Tensor:
    """Where tiles fade into each other, (scale*H, scale*W) bool: the middle half of what neighbours share."""
    lines = []
    for length in size:
        line = torch.zeros(scale * length, dtype=torch.bool)
        spans: Sequence[tuple[int, int]] = tiling.spans(length)
        for (_, stop), (start, _) in pairwise(spans):
            quarter = scale * (stop - start) // 4
            line[scale * start + quarter : scale * stop - quarter] = True
        lines.append(line)
    return lines[0][:, None] | lines[1][None, :]


def changed(network: nn.Module, out: Tensor, clip: Clip) -> Tensor:
    """What the network changed: its output minus the input, enlarged where it enlarges."""
    base = clip.rgb
    if network.scale != 1:
        base = nn.functional.interpolate(base, scale_factor=float(network.scale), mode="bicubic")  # type: ignore[arg-type]
    return out - base


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("input", type=Path, help="a video")
    add_networks(parser)
    parser.add_argument("--frames", type=int, default=48, help="how many frames to use")
    given = parser.parse_args(arguments)
    options = {"model": given.model, "weights": tuple(given.weights)}
    report("Receptive field", errors_by_overlap(given.input, options, given.frames), given.json)


if __name__ == "__main__":
    main()
