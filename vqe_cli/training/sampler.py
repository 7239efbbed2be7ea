"""Which crops a step learns from, as a function of (seed, step) alone, and their preparation ahead."""

import math
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vqe_cli.training.data import Batch, Cut, Pair, crops_rgb, recoloured, turned
from vqe_cli.training.library import Library
from vqe_cli.training.memory import explained
from vqe_cli.training.schema import DataConfig


def lift_peaks(lq: Tensor, gt: Tensor, qp: Tensor, pqf: Tensor, share: float) -> None:
    """Bring a clip's peaks (T, 3, h, w) by `share` nearer to the truth and their QPs down alike, in place.

    A clip whose peaks are much better than its other frames shows plainly what neighbours can give; from
    real clips, whose peaks are hardly better, the branches learn it very slowly. Sizes must be equal (scale
    1). One step of QP counts as 1 dB, which is what it is at common QPs.
    """
    lq[pqf] = torch.lerp(lq[pqf], gt[pqf], share)
    qp[pqf] += 20 * math.log10(1 - share)


@dataclass(frozen=True)
class Draw:
    """One clip of a batch: where it is cut, how it is turned (0 … 7), whether its QPs are hidden, its own
    seed, and how it is recoloured (0 … 15)."""

    pair: Pair
    first: int
    top: int
    left: int
    turn: int
    hidden: bool
    seed: int
    colours: int

    def varied(self, x: Tensor) -> Tensor:
        """Its pictures (..., 3, h, w), turned and recoloured."""
        return turned(recoloured(x, self.colours), self.turn)


class Sampler:
    """Draws batches of crops; process `rank` of `size` gets its part of the batch that all draw alike."""

    def __init__(self, library: Library, config: DataConfig, seed: int, rank: int = 0, size: int = 1) -> None:
        self.library = library
        self.config = config
        self.seed = seed
        self.rank = rank
        self.size = size

    def draw(self, step: int) -> list[Draw]:
        """What this process learns from in a step. One process with twice the batch draws what two draw
        together."""
        rng = np.random.default_rng([self.seed, step])
        by_recipe: dict[str, list[Pair]] = {}
        for pair in self.library.pairs_at(step):
            by_recipe.setdefault(pair.recipe, []).append(pair)
        weights = np.array([self.config.recipes[recipe] for recipe in by_recipe])
        groups = list(by_recipe.values())
        chosen = []
        for _ in range(self.config.batch * self.size):
            group = groups[rng.choice(len(groups), p=weights / weights.sum())]
            chosen.append(self._place(group[rng.integers(len(group))], rng))
        return chosen[self.rank * self.config.batch : (self.rank + 1) * self.config.batch]

    def _place(self, pair: Pair, rng: np.random.Generator) -> Draw:
        height, width = pair.lq.size
        crop = self.config.crop
        return Draw(
            pair,
            first=int(rng.integers(pair.lq.frames - self.config.frames + 1)),
            # Even positions keep the chroma samples of 4:2:0 where they lie.
            top=2 * int(rng.integers((height - crop) // 2 + 1)),
            left=2 * int(rng.integers((width - crop) // 2 + 1)),
            turn=int(rng.integers(8)),
            hidden=bool(rng.random() < self.config.unknown_qp),
            seed=int(rng.integers(2**62)),
            colours=int(rng.integers(16)) if rng.random() < self.config.recoloured else 0,
        )

    def batch(self, step: int, device: torch.device | str = "cpu") -> Batch:
        """This process's batch of a step, on the device."""
        draws = self.draw(step)
        count, crop, s = self.config.frames, self.config.crop, self.config.scale
        lqs = crops_rgb([Cut(d.pair.lq, d.first, count, d.top, d.left, crop) for d in draws], device)
        gts = crops_rgb(
            [Cut(d.pair.gt, d.first, count, s * d.top, s * d.left, s * crop) for d in draws], device
        )
        qps, pqfs = [], []
        for d, lq, gt in zip(draws, lqs, gts, strict=True):
            frames = slice(d.first, d.first + count)
            qp = torch.from_numpy(d.pair.lq.qp[frames]).clone()
            qps.append(torch.full_like(qp, float("nan")) if d.hidden else qp)
            pqfs.append(torch.from_numpy(d.pair.lq.pqf[frames]))
            rng = np.random.default_rng(d.seed)
            if rng.random() < self.config.lifted_peaks:
                lift_peaks(lq, gt, qps[-1], pqfs[-1], float(rng.uniform(0.4, 0.9)))
        return Batch(
            torch.stack([d.varied(x) for x, d in zip(lqs, draws, strict=True)]),
            torch.stack([d.varied(x) for x, d in zip(gts, draws, strict=True)]),
            torch.stack(qps).to(device),
            torch.stack(pqfs).to(device),
            tuple(d.seed for d in draws),
        )

    def batches(
        self, first_step: int, device: torch.device | str = "cpu", ahead: int = 3
    ) -> Generator[Batch]:
        """Endless batches from `first_step` on, prepared by a thread a few steps ahead."""
        ready: queue.Queue[Batch | BaseException] = queue.Queue(ahead)
        stop = threading.Event()

        def prepare() -> None:
            step = first_step
            while not stop.is_set():
                try:
                    item: Batch | BaseException = self.batch(step, device)
                except BaseException as error:
                    item = error
                while not stop.is_set():
                    try:
                        ready.put(item, timeout=0.2)
                        break
                    except queue.Full:
                        continue
                if isinstance(item, BaseException):
                    return
                step += 1

        thread = threading.Thread(target=prepare, daemon=True, name="batches")
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    with explained(None, self.config.batch):
                        raise item
                yield item
        finally:
            # A thread that still computes while the program ends would abort it.
            stop.set()
            thread.join()
