"""What a run takes of the memory that is there: reckoned before it starts, from sizes and footprints."""

from dataclasses import dataclass

import torch

from vqe_cli.restore.chunks import frames_held
from vqe_cli.restore.device import Compute
from vqe_cli.restore.engine import Enhancer
from vqe_cli.restore.footprint import MARGIN
from vqe_cli.restore.handover import READ_AHEAD, WRITE_AHEAD
from vqe_cli.restore.sizes import picture_bytes
from vqe_cli.restore.stages import BATCH_PIXELS, Stage
from vqe_cli.video.frame import VideoInfo
from vqe_cli.video.memory import ENCODER_PICTURES, frame_bytes, machine_memory

# Python, PyTorch and FFmpeg before the first picture: 240 MiB are resident with all of them imported; the
# rest is for what their threads take once they compute.
PROGRAM = 400 * 2**20


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


def needs(info: VideoInfo, engine: Enhancer, compute: Compute, scale: int, workers: int) -> tuple[Need, ...]:
    """What a run takes: of the machine's memory, for all its processes, and, with a GPU, of the device's."""
    chunks, pixels = engine.sizes.chunks, info.width * info.height
    picture = frame_bytes(info.width, info.height, info.pix_fmt)
    held = frames_held(chunks) + READ_AHEAD + (WRITE_AHEAD + ENCODER_PICTURES) * scale**2
    networks = picture_bytes(pixels, chunks.chunk, chunks.overlap, scale) + _largest(engine, pixels)
    host, (free, total) = PROGRAM + held * picture, machine_memory()
    if compute.device.type != "cuda":
        return (Need("memory", workers * (host + networks), free, total),)
    device_free, device_total = torch.cuda.mem_get_info(compute.device)
    on_device = Need(f"memory of {compute.name}", networks, device_free, device_total)
    return Need("memory", workers * host, free, total), on_device


def _largest(engine: Enhancer, pixels: int) -> int:
    """Bytes of all weights and of the stage that takes most while it runs; pixels: of the input."""
    weights, most = 0, 0
    for stage in engine.stages:
        weights += sum(tensor.nbytes for tensor in stage.network.state_dict().values())
        side = stage.tiling.tile
        area = min(pixels, side * side) if side else pixels
        most = max(most, _while_running(stage, area, engine.sizes.chunks.window))
        pixels *= stage.scale**2
    return weights + most


def _while_running(stage: Stage, area: int, window: int) -> int:
    """Bytes of one run of a stage on tiles of `area` pixels."""
    if stage.is_video:
        return stage.footprint.bytes(area, window)
    return stage.footprint.bytes(max(area, BATCH_PIXELS[stage.compute.device.type]), 1)
