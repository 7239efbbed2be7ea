"""How much is enhanced at a time, and what of the memory that takes.

Chunks and tiles are the user's, the pipeline's, or what fits the device model; never what happens to be free.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from torch import nn

from vqe_cli.errors import SettingsError
from vqe_cli.networks.motion_fusion import MotionFusion
from vqe_cli.pipeline_threads import READ_AHEAD, WRITE_AHEAD
from vqe_cli.restore.choices import SizeChoice
from vqe_cli.restore.chunks import ChunkSizes, frames_held
from vqe_cli.restore.device import Compute
from vqe_cli.restore.footprint import MARGIN, Footprint
from vqe_cli.restore.stages import BATCH_PIXELS, Stage, Tiling
from vqe_cli.video.estimates import ENCODER_PICTURES, frame_bytes, machine_memory
from vqe_cli.video.frame import VideoInfo

# Frames. Of a video as many as `balanced` needs (docs/decisions.md, tests/restore/test_equivalence.py).
CHUNK = {"video": 32, "image": 8}
LEAST_CHUNK = {"video": 4, "image": 1}  # what context makes worth its while
OVERLAP = {"video": 16, "image": 0}
TILE_OVERLAP = {"video": 64, "motion": 48, "image": 32}
RGB_BYTES = 12  # of a pixel in float32
# Of a pixel of each frame, where motion is found on whole pictures and the rest runs in tiles: two flows in
# half precision.
MOTION_BYTES = 8
TILE_STEP = 16  # automatic tiles are a multiple of it
# Python, PyTorch and FFmpeg before the first picture: 240 MiB are resident with all of them imported; the
# rest is for what their threads take once they compute.
PROGRAM = 400 * 2**20


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
        own = "motion" if isinstance(network, MotionFusion) else "video" if network.is_video else "image"
        shared = choice.tile_overlap or defaults.get("tile_overlap", TILE_OVERLAP[own])
        need = partial(footprint.bytes, frames=frames)
        left = spare - motion_bytes(network, pixels, frames)
        tilings.append(_tiling(need, int(network.multiple), choice, shared, (spare, left), size))  # type: ignore[arg-type]
        size = (size[0] * larger, size[1] * larger)
    return Sizes(chunks, tuple(tilings))


def scale_of(network: nn.Module) -> int:
    """Output size over input size."""
    assert isinstance(network.scale, int)
    return network.scale


def picture_bytes(pixels: int, chunk: int, overlap: int, scale: int) -> int:
    """Bytes of a chunk's RGB pictures: all that go in, and the kept ones that come out."""
    return RGB_BYTES * pixels * (chunk + 2 * overlap + scale**2 * chunk)


def motion_bytes(network: nn.Module, pixels: int, frames: int) -> int:
    """Bytes of the motion of a clip's whole pictures beside the tiles of a network."""
    return MOTION_BYTES * pixels * frames if isinstance(network, MotionFusion) else 0


def _tiling(
    need: Callable[[int], int],
    multiple: int,
    choice: SizeChoice,
    overlap: int,
    spare: tuple[int, int],
    size: tuple[int, int],
) -> Tiling:
    """Tiles for a network that may use `spare` bytes, on whole pictures and in tiles.

    need: bytes that it takes for so many pixels.
    """
    if choice.tile:
        if choice.tile_overlap and 3 * overlap > choice.tile:
            raise SettingsError(
                f"--tile {choice.tile} is too small for --tile-overlap {overlap}.",
                f"Use --tile {3 * overlap} or more, or a smaller overlap.",
            )
        return Tiling(choice.tile, min(overlap, choice.tile // 3), multiple)
    if need(size[0] * size[1]) <= spare[0]:
        return Tiling(0, 0, multiple)
    side = int((max(0, spare[1]) / need(1)) ** 0.5)
    return Tiling(max(side - side % TILE_STEP, 3 * overlap), overlap, multiple)


@dataclass(frozen=True)
class Need:
    """Bytes that a run takes of one memory, and what there is of it, None where that is unknown.

    where: "memory", or "memory of" and the model of a GPU. total: with swap.
    """

    where: str
    bytes: int
    free: int | None
    total: int | None

    @property
    def surely(self) -> int:
        """What it takes without the margin of the reckoning."""
        return int(self.bytes / MARGIN)


def needs(
    info: VideoInfo, stages: Sequence[Stage], chunks: ChunkSizes, scale: int, workers: int
) -> tuple[Need, ...]:
    """What a run takes: of the machine's memory, for all its processes, and, with a GPU, of the device's.

    stages: all that run, on one device. scale: of the output.
    """
    compute, pixels = stages[0].compute, info.width * info.height
    picture = frame_bytes(info.width, info.height, info.pix_fmt)
    held = frames_held(chunks) + READ_AHEAD + (WRITE_AHEAD + ENCODER_PICTURES) * scale**2
    networks = picture_bytes(pixels, chunks.chunk, chunks.overlap, scale) + _largest(
        stages, pixels, chunks.window
    )
    host, (free, total) = PROGRAM + held * picture, machine_memory()
    if compute.device.type != "cuda":
        return (Need("memory", workers * (host + networks), free, total),)
    device_free, device_total = torch.cuda.mem_get_info(compute.device)
    on_device = Need(f"memory of {compute.name}", networks, device_free, device_total)
    return Need("memory", workers * host, free, total), on_device


def _largest(stages: Sequence[Stage], pixels: int, window: int) -> int:
    """Bytes of all weights and of the stage that takes most while it runs on `window` frames of the input."""
    weights, most = 0, 0
    for stage in stages:
        weights += sum(tensor.nbytes for tensor in stage.network.state_dict().values())
        side = stage.tiling.tile
        area = min(pixels, side * side) if side else pixels
        whole = motion_bytes(stage.network, pixels, window) if side else 0
        most = max(most, whole + _while_running(stage, area, window))
        pixels *= stage.scale**2
    return weights + most


def _while_running(stage: Stage, area: int, window: int) -> int:
    """Bytes of one run of a stage on tiles of `area` pixels."""
    if stage.is_video:
        return stage.footprint.bytes(area, window)
    return stage.footprint.bytes(max(area, BATCH_PIXELS[stage.compute.device.type]), 1)
