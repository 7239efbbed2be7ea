"""Chunk and tile sizes: the user's, the pipeline's, or what fits the device model; never what happens to be
free.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from torch import nn

from vqe_cli.errors import SettingsError
from vqe_cli.restore.choices import SizeChoice
from vqe_cli.restore.chunks import ChunkSizes
from vqe_cli.restore.device import Compute
from vqe_cli.restore.footprint import Footprint
from vqe_cli.restore.tiles import Tiling

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
    choice: SizeChoice,
    tta: int,
    defaults: Mapping[str, int],
    compute: Compute,
    size: tuple[int, int],
) -> Sizes:
    """Sizes of a run.

    networks: of the stages, each with what it needs. tta: how many flips and rotations are averaged.
    defaults: the pipeline's (weights.toml). size: (height, width) of the input. What the choice leaves open
    is the pipeline's default or ours, lowered until the chunk's pictures take half of the device's budget;
    then tiles, where a network still needs more than the rest. Raises VqeError when tiles and their overlap
    contradict each other.
    """
    kind = "video" if any(network.is_video for network, _ in networks) else "image"
    scale = prod(scale_of(network) for network, _ in networks)
    overlap = choice.overlap
    if overlap is None:
        overlap = defaults.get("overlap", OVERLAP[kind]) if kind == "video" else 0
    pixels = size[0] * size[1]
    chunk = choice.chunk or defaults.get("chunk", CHUNK[kind])
    while (
        not choice.chunk
        and chunk > LEAST_CHUNK[kind]
        and picture_bytes(pixels, chunk, overlap, scale) > compute.budget / 2
    ):
        chunk = max(LEAST_CHUNK[kind], chunk - LEAST_CHUNK[kind])
    chunks = ChunkSizes(chunk, overlap, choice.peak_period if kind == "video" else 0)
    spare = max(compute.budget - picture_bytes(pixels, chunk, overlap, scale), compute.budget // 4)
    tilings = []
    for network, footprint in networks:
        frames = chunks.window if network.is_video else 1
        larger = scale_of(network)
        if tta > 1:
            averaging = RGB_BYTES * frames * (2 + 2 * larger**2)
            footprint = Footprint(footprint.fixed + averaging, footprint.frame)
        own = "video" if network.is_video else "image"
        shared = choice.tile_overlap or defaults.get("tile_overlap", TILE_OVERLAP[own])
        need = partial(footprint.bytes, frames=frames)
        tilings.append(_tiling(need, int(network.multiple), choice, shared, spare, size))  # type: ignore[arg-type]
        size = (size[0] * larger, size[1] * larger)
    return Sizes(chunks, tuple(tilings))


def scale_of(network: nn.Module) -> int:
    """Output size over input size."""
    assert isinstance(network.scale, int)
    return network.scale


def picture_bytes(pixels: int, chunk: int, overlap: int, scale: int) -> int:
    """Bytes of a chunk's RGB pictures: all that go in, and the kept ones that come out."""
    return RGB_BYTES * pixels * (chunk + 2 * overlap + scale**2 * chunk)


def _tiling(
    need: Callable[[int], int],
    multiple: int,
    choice: SizeChoice,
    overlap: int,
    spare: int,
    size: tuple[int, int],
) -> Tiling:
    """Tiles for a network that may use `spare` bytes; need: bytes that it takes for so many pixels."""
    if choice.tile:
        if choice.tile_overlap and 3 * overlap > choice.tile:
            raise SettingsError(
                f"--tile {choice.tile} is too small for --tile-overlap {overlap}.",
                f"Use --tile {3 * overlap} or more, or a smaller overlap.",
            )
        return Tiling(choice.tile, min(overlap, choice.tile // 3), multiple)
    if need(size[0] * size[1]) <= spare:
        return Tiling(0, 0, multiple)
    side = int((spare / need(1)) ** 0.5)
    return Tiling(max(side - side % TILE_STEP, 3 * overlap), overlap, multiple)
