"""Which crops a step learns from, as a function of (seed, step) alone, and their preparation ahead."""

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vqe_cli.pipeline_threads import prefetched
from vqe_cli.training.data import Batch, Cut, Pair, crops_rgb, recoloured, turned_each
from vqe_cli.training.gradients import batch_advice
from vqe_cli.training.library import Library
from vqe_cli.training.schema import DataConfig


@dataclass(frozen=True)
class Draw:
    """One clip of a batch, and what becomes of it."""

    pair: Pair
    """The clip and its truth."""
    first: int
    """Its first frame."""
    top: int
    """Upper edge of the crop, luma pixels of the compressed picture."""
    left: int
    """Left edge of the crop."""
    turn: int
    """Which flip and rotation, 0 … 7."""
    hidden: bool
    """Whether its QPs are hidden."""
    seed: int
    """For what a task draws for it."""
    colours: int
    """How it is recoloured, 0 … 15; 0: not at all."""


def varied(x: Tensor, draws: Sequence[Draw]) -> Tensor:
    """The pictures (N, T, 3, h, h) of draws, turned and recoloured."""
    return turned_each(recoloured(x, [d.colours for d in draws]), [d.turn for d in draws])


class Sampler:
    """Draws batches of crops; process `rank` of `size` gets its part of the batch that all draw alike."""

    def __init__(self, library: Library, config: DataConfig, seed: int, rank: int = 0, size: int = 1) -> None:
        self.library = library
        self.config = config
        self.seed = seed
        self.rank = rank
        self.size = size
        self.grouped: tuple[list[Pair], list[list[Pair]], np.ndarray] | None = None

    def draw(self, step: int) -> list[Draw]:
        """What this process learns from in a step. One process with twice the batch draws what two draw
        together."""
        rng = np.random.default_rng([self.seed, step])
        groups, shares = self._by_recipe(self.library.pairs_at(step))
        count = self.config.batch * self.size
        lots, seeds = rng.random((count, 9)), rng.integers(2**62, size=count)
        mine = slice(self.rank * self.config.batch, (self.rank + 1) * self.config.batch)
        recipes = np.searchsorted(shares, lots[mine, 0], side="right")
        return [
            self._place(groups[recipe], lot, int(seed))
            for recipe, lot, seed in zip(recipes, lots[mine, 1:].tolist(), seeds[mine], strict=True)
        ]

    def _by_recipe(self, pairs: list[Pair]) -> tuple[list[list[Pair]], np.ndarray]:
        """The pairs of each recipe, and the shares of all recipes up to each, the last of which is 1."""
        if self.grouped is None or self.grouped[0] is not pairs:
            by_recipe: dict[str, list[Pair]] = {}
            for pair in pairs:
                by_recipe.setdefault(pair.recipe, []).append(pair)
            shares = np.cumsum([self.config.recipes[recipe] for recipe in by_recipe])
            self.grouped = (pairs, list(by_recipe.values()), shares / shares[-1])
        return self.grouped[1:]

    def _place(self, group: list[Pair], lot: Sequence[float], seed: int) -> Draw:
        """A clip of a group and what becomes of it, by eight numbers from 0 up to 1."""
        pair = group[int(lot[0] * len(group))]
        height, width = pair.lq.size
        crop = self.config.crop
        return Draw(
            pair,
            first=int(lot[1] * (pair.lq.frames - self.config.frames + 1)),
            # Even positions keep the chroma samples of 4:2:0 where they lie.
            top=2 * int(lot[2] * ((height - crop) // 2 + 1)),
            left=2 * int(lot[3] * ((width - crop) // 2 + 1)),
            turn=int(lot[4] * 8),
            hidden=lot[5] < self.config.unknown_qp,
            seed=seed,
            colours=int(lot[7] * 16) if lot[6] < self.config.recoloured else 0,
        )

    def batch(self, step: int, device: torch.device | str = "cpu") -> Batch:
        """This process's batch of a step, on the device."""
        draws = self.draw(step)
        count, crop, s = self.config.frames, self.config.crop, self.config.scale
        lq = crops_rgb([Cut(d.pair.lq, d.first, count, d.top, d.left, crop) for d in draws], device)
        gt = crops_rgb(
            [Cut(d.pair.gt, d.first, count, s * d.top, s * d.left, s * crop) for d in draws], device
        )
        qp = torch.from_numpy(np.stack([d.pair.lq.qp[d.first : d.first + count] for d in draws]))
        pqf = torch.from_numpy(np.stack([d.pair.lq.pqf[d.first : d.first + count] for d in draws]))
        errors = torch.from_numpy(np.stack([d.pair.errors[d.first : d.first + count] for d in draws]))
        qp[torch.tensor([d.hidden for d in draws])] = float("nan")
        return Batch(
            varied(lq, draws),
            varied(gt, draws),
            qp.to(device),
            pqf.to(device),
            errors.to(device),
            tuple(d.seed for d in draws),
        )

    def batches(
        self, first_step: int, device: torch.device | str = "cpu", ahead: int = 3
    ) -> Generator[Batch]:
        """Endless batches from `first_step` on, prepared by a thread a few steps ahead."""
        endless = (self.batch(step, device) for step in itertools.count(first_step))
        # A thread that still computed while the program ends would abort it: leaving the block waits for it.
        with prefetched(endless, ahead) as ready:
            while True:
                with batch_advice(None, self.config.batch):
                    batch = next(ready)
                yield batch
