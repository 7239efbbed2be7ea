"""One chunk through the networks: stage I with its context, stage II on what is kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqe_cli.errors import VqeError
from vqe_cli.restore.device import Compute
from vqe_cli.restore.footprint import NOTHING, Footprint
from vqe_cli.restore.tiles import Tiling, tiled
from vqe_cli.restore.tta import averaged

# Pictures given to an image network at once hold at most this many pixels (one picture always goes).
BATCH_PIXELS = {"cpu": 1, "cuda": 1 << 20, "mps": 1 << 18}


@dataclass(frozen=True)
class Stage:
    """A network that is ready to run.

    number: 1 or 2. network: prepared by `compute`, a video or an image network (`is_video`). tiling: for
    pictures too large. tta: turns that are averaged. footprint: what it takes, as far as it was measured.
    """

    number: int
    network: nn.Module
    compute: Compute
    tiling: Tiling
    tta: int = 1
    footprint: Footprint = NOTHING

    @property
    def is_video(self) -> bool:
        return bool(self.network.is_video)

    @property
    def scale(self) -> int:
        scale = self.network.scale
        assert isinstance(scale, int)
        return scale

    def __call__(self, clip: Tensor, pqf: Tensor, qp: Tensor, keep: slice) -> Tensor:
        """Enhance frames (T, 3, H, W) of one scene; gives those of `keep`, (K, 3, scale*H, scale*W), float32.

        clip: RGB, nominally 0 … 1, on the device. pqf (T,) bool: peaks. qp (T,) float, NaN where unknown.
        Raises VqeError when memory does not suffice or the network gives NaN or infinity.
        """
        with self.compute.running():
            if self.is_video:
                out = tiled(lambda part: self._turns(part, pqf, qp, keep), clip, self.tiling, self.scale)
            else:
                out = self._pictures(clip[keep], qp[keep])
        if not torch.isfinite(out).all():
            full = self.compute.precision == "fp32"
            raise VqeError(
                f"stage {self.number} gave values that are NaN or infinity in {self.compute.precision}.",
                "Its weights are broken: use others." if full else "Use --precision fp32.",
            )
        return out

    def _turns(self, clip: Tensor, pqf: Tensor, qp: Tensor, keep: slice) -> Tensor:
        def run(turn: Tensor) -> Tensor:
            out: Tensor = self.network(turn[None], pqf[None], qp[None], keep)
            return out[0]

        return averaged(run, clip, self.tta)

    def _pictures(self, pictures: Tensor, qp: Tensor) -> Tensor:
        batch = max(1, BATCH_PIXELS[self.compute.device.type] // (pictures.shape[-2] * pictures.shape[-1]))
        return torch.cat(
            [self._batch(pictures[i : i + batch], qp[i : i + batch]) for i in range(0, len(pictures), batch)]
        )

    def _batch(self, pictures: Tensor, qp: Tensor) -> Tensor:
        def run(turn: Tensor) -> Tensor:
            out: Tensor = self.network(turn.contiguous(memory_format=torch.channels_last), qp)
            return out

        return tiled(lambda part: averaged(run, part, self.tta), pictures, self.tiling, self.scale)


def run_stages(
    stages: Sequence[Stage], clip: Tensor, pqf: Tensor, qp: Tensor, keep: slice, seconds: list[float]
) -> Tensor:
    """The kept frames of a chunk, (K, 3, s*H, s*W), after all stages.

    clip (T, 3, H, W), pqf (T,), qp (T,): the chunk with its context. keep: positions that are wanted.
    seconds: the time of each stage is added to it. Context goes only where a video network still needs it.
    """
    for position, stage in enumerate(stages):
        started = time.perf_counter()
        if any(later.is_video for later in stages[position + 1 :]):
            clip = stage(clip, pqf, qp, slice(0, len(clip)))
        else:
            clip = stage(clip, pqf, qp, keep)
            pqf, qp, keep = pqf[keep], qp[keep], slice(0, len(clip))
        stage.compute.finished()
        seconds[position] += time.perf_counter() - started
    return clip
