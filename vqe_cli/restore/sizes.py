"""Chunk and tile sizes: the user's, the pipeline's, or what fits the device model; never what happens to be
free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from vqe_cli.errors import VqeError
from vqe_cli.restore.chunks import ChunkSizes
from vqe_cli.restore.device import Compute
from vqe_cli.restore.footprint import Footprint
from vqe_cli.restore.tiles import Tiling
from vqe_cli.runs.settings import Settings

# Frames. Of a video as many as `balanced` needs (docs/decisions.md, tests/restore/test_equivalence.py).
CHUNK = {"video": 32, "image": 8}
LEAST_CHUNK = {"video": 4, "image": 1}  # what context makes worth its while
OVERLAP = {"video": 16, "image": 0}
TILE_OVERLAP = {"video": 64, "image": 32}
RGB_BYTES = 12  # of a pixel in float32
TILE_STEP = 16  # automatic tiles are a multiple of it


@dataclass(frozen=True)
class Sizes:
    """chunks: of the whole run. tilings: one for each stage."""

    chunks: ChunkSizes
    tilings: tuple[Tiling, ...]


def choose_sizes(
    networks: Sequence[tuple[nn.Module, Footprint]],
    settings: Settings,
    defaults: Mapping[str, int],
    compute: Compute,
    size: tuple[int, int],
) -> Sizes:
    """Sizes of a run.

    networks: of the stages, each with what it needs. defaults: the pipeline's (weights.toml). size:
    (height, width) of the input. What the user left open is the pipeline's default or ours, lowered until
    the chunk's pictures take half of the device's budget; then tiles, where a network still needs more than
    the rest.
    Raises VqeError when tiles and their overlap contradict each other.
    """
    kind = "video" if any(network.is_video for network, _ in networks) else "image"
    overlap = settings.overlap
    if overlap is None:
        overlap = defaults.get("overlap", OVERLAP[kind]) if kind == "video" else 0
    pixels = size[0] * size[1]
    chunk = settings.chunk or defaults.get("chunk", CHUNK[kind])
    while (
        not settings.chunk
        and chunk > LEAST_CHUNK[kind]
        and picture_bytes(pixels, chunk, overlap, settings) > compute.budget / 2
    ):
        chunk = max(LEAST_CHUNK[kind], chunk - LEAST_CHUNK[kind])
    chunks = ChunkSizes(chunk, overlap, settings.pqf_period if kind == "video" else 0)
    spare = max(compute.budget - picture_bytes(pixels, chunk, overlap, settings), compute.budget // 4)
    tilings = []
    for network, footprint in networks:
        frames = chunks.window if network.is_video else 1
        tilings.append(_tiling(network, footprint, settings, defaults, frames, spare, size))
        size = (size[0] * int(network.scale), size[1] * int(network.scale))  # type: ignore[arg-type]
    return Sizes(chunks, tuple(tilings))


def turns_of(settings: Settings, defaults: Mapping[str, int]) -> int:
    """How many turns are averaged: the user's choice, or the pipeline's, or one."""
    return settings.tta or defaults.get("tta", 1)


def picture_bytes(pixels: int, chunk: int, overlap: int, settings: Settings) -> int:
    """Bytes of a chunk's RGB pictures: all that go in, and the kept ones that come out."""
    return RGB_BYTES * pixels * (chunk + 2 * overlap + settings.scale**2 * chunk)


def _tiling(
    network: nn.Module,
    footprint: Footprint,
    settings: Settings,
    defaults: Mapping[str, int],
    frames: int,
    spare: int,
    size: tuple[int, int],
) -> Tiling:
    """Tiles for one network that may use `spare` bytes on clips of `frames` pictures."""
    kind = "video" if network.is_video else "image"
    multiple = int(network.multiple)  # type: ignore[arg-type]
    overlap = settings.tile_overlap or defaults.get("tile_overlap", TILE_OVERLAP[kind])
    if settings.tile:
        if settings.tile_overlap and 3 * overlap > settings.tile:
            raise VqeError(
                f"--tile {settings.tile} is too small for --tile-overlap {overlap}.",
                f"Use --tile {3 * overlap} or more, or a smaller overlap.",
            )
        return Tiling(settings.tile, min(overlap, settings.tile // 3), multiple)
    several = turns_of(settings, defaults) > 1
    turns = RGB_BYTES * frames * (2 + 2 * int(network.scale) ** 2) if several else 0  # type: ignore[arg-type]
    footprint = Footprint(footprint.fixed + turns, footprint.frame)
    if footprint.bytes(size[0] * size[1], frames) <= spare:
        return Tiling(0, 0, multiple)
    side = int((spare / footprint.bytes(1, frames)) ** 0.5)
    return Tiling(max(side - side % TILE_STEP, 3 * overlap), overlap, multiple)
