"""Training data: pairs of compressed and clean clips, decoded once into memory, cut into random crops.

A data folder holds `raw/NAME.*` (the truth) and `lq/RECIPE/NAME.*` (its compressed versions): video files or folders
of PNG pictures. Every draw depends on (seed, step, rank) alone, so that a resumed run sees what an uninterrupted one sees.
"""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqe_cli.errors import VqeError
from vqe_cli.hevc.pqf import mark
from vqe_cli.training.config import DataConfig
from vqe_cli.video.colour import to_rgb
from vqe_cli.video.frame import Colour
from vqe_cli.video.reader import Reader


@dataclass(frozen=True)
class Clip:
    """A decoded clip: planes of T frames, each (T, h, w) as decoded, QPs (T,) with NaN where unknown, peaks (T,)."""

    name: str
    planes: tuple[np.ndarray, ...]
    colour: Colour
    qp: np.ndarray
    pqf: np.ndarray

    @property
    def frames(self) -> int:
        return self.planes[0].shape[0]

    @property
    def nbytes(self) -> int:
        return sum(plane.nbytes for plane in self.planes)


@dataclass(frozen=True)
class Pair:
    """A compressed clip, its truth and the recipe that made it."""

    recipe: str
    lq: Clip
    gt: Clip


@dataclass(frozen=True)
class Batch:
    """lq (N, T, 3, h, w) and gt (N, T, 3, s*h, s*w), RGB in [0, 1]; qp (N, T), NaN where hidden; pqf (N, T) bool."""

    lq: Tensor
    gt: Tensor
    qp: Tensor
    pqf: Tensor


def decode_clip(path: Path, pqf_rule: str = "prominent", drop: frozenset[int] = frozenset()) -> Clip:
    """Decode a whole short clip; frames whose index is in `drop` are left out (duplicate removal)."""
    with Reader(path) as reader:
        frames = [frame for frame in reader if frame.index not in drop]
        colour = reader.info.colour
    if not frames:
        raise VqeError(f"{path} has no frames.", "Remove it from the data folder.")
    qps = [frame.qp for frame in frames]
    pqf = mark(qps, [frame.irap for frame in frames], [frame.sequence for frame in frames], rule=pqf_rule)
    network_qp = [np.nan if frame.network_qp is None else frame.network_qp for frame in frames]
    planes = tuple(np.stack([frame.planes[i] for frame in frames]) for i in range(len(frames[0].planes)))
    return Clip(path.stem, planes, colour, np.array(network_qp, np.float32), np.array(pqf, bool))


def clips_below(folder: Path) -> dict[str, Path]:
    """Clips of a folder by name: video files by their stem, picture folders by their name."""
    if not folder.is_dir():
        raise VqeError(f"{folder} is not a folder.", "A data folder holds raw/ and lq/RECIPE/.")
    return {path.stem: path for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def load_pairs(data: Path, recipes: list[str], config: DataConfig) -> list[Pair]:
    """Decode every pair of the named recipes; all that does not fit together is reported in one error."""
    truths = clips_below(data / "raw")
    problems: list[str] = []
    pairs: list[Pair] = []
    decoded: dict[str, Clip] = {}
    used = 0.0
    for recipe in recipes:
        for name, path in clips_below(data / "lq" / recipe).items():
            if name not in truths:
                problems.append(f"{path} has no truth raw/{name}.*")
                continue
            if name not in decoded:
                decoded[name] = decode_clip(truths[name])
                used += decoded[name].nbytes / 2**30
            lq = decode_clip(path, config.pqf_rule)
            used += lq.nbytes / 2**30
            problems += _mismatch(path, lq, decoded[name], config)
            pairs.append(Pair(recipe, lq, decoded[name]))
            if used > config.cache_gib:
                raise VqeError(
                    f"the clips below {data} take more than data.cache_gib = {config.cache_gib:g} GiB decoded.",
                    "Raise data.cache_gib, or name fewer recipes or clips.",
                )
    if problems:
        raise VqeError("; ".join(problems) + ".", "Mend or remove these clips.")
    return pairs


def _mismatch(path: Path, lq: Clip, gt: Clip, config: DataConfig) -> list[str]:
    problems = []
    if lq.frames != gt.frames:
        problems.append(f"{path} has {lq.frames} frames, its truth {gt.frames}")
    (lh, lw), (gh, gw) = lq.planes[0].shape[1:], gt.planes[0].shape[1:]
    if (lh * config.scale, lw * config.scale) != (gh, gw):
        problems.append(f"{path} is {lw}x{lh}, its truth {gw}x{gh} (data.scale is {config.scale})")
    elif min(lh, lw) < config.crop:
        problems.append(f"{path} is {lw}x{lh}, smaller than data.crop = {config.crop}")
    if lq.frames < config.frames:
        problems.append(f"{path} has {lq.frames} frames, data.frames asks for {config.frames}")
    return problems


class Sampler:
    """Draws random batches of crops from decoded pairs; the draw of a step is a function of (seed, step, rank)."""

    def __init__(self, pairs: list[Pair], config: DataConfig, seed: int, rank: int = 0) -> None:
        self.config = config
        self.seed = seed
        self.rank = rank
        self.by_recipe = {r: [p for p in pairs if p.recipe == r] for r in config.recipes}
        weights = np.array([float(config.recipes[r]) for r in self.by_recipe])
        self.probabilities = weights / weights.sum()

    def draw(self, step: int) -> list[tuple[Pair, int, int, int, int, bool]]:
        """What a step uses: (pair, first frame, top, left, turn 0..7, QP hidden) for each clip of the batch."""
        rng = np.random.default_rng([self.seed, step, self.rank])
        chosen = []
        recipes = list(self.by_recipe.values())
        for _ in range(self.config.batch):
            group = recipes[rng.choice(len(recipes), p=self.probabilities)]
            pair = group[rng.integers(len(group))]
            height, width = pair.lq.planes[0].shape[1:]
            first = int(rng.integers(pair.lq.frames - self.config.frames + 1))
            # Even positions keep the chroma samples of 4:2:0 where they lie.
            top = 2 * int(rng.integers((height - self.config.crop) // 2 + 1))
            left = 2 * int(rng.integers((width - self.config.crop) // 2 + 1))
            chosen.append((pair, first, top, left, int(rng.integers(8)), bool(rng.random() < self.config.unknown_qp)))
        return chosen

    def batch(self, step: int, device: torch.device | str = "cpu") -> Batch:
        """The batch of a step, on the device."""
        lqs, gts, qps, pqfs = [], [], [], []
        for pair, first, top, left, turn, hidden in self.draw(step):
            frames = slice(first, first + self.config.frames)
            s = self.config.scale
            lqs.append(_turned(_crop_rgb(pair.lq, frames, top, left, self.config.crop, device), turn))
            gts.append(_turned(_crop_rgb(pair.gt, frames, s * top, s * left, s * self.config.crop, device), turn))
            qp = torch.from_numpy(pair.lq.qp[frames])
            qps.append(torch.full_like(qp, float("nan")) if hidden else qp)
            pqfs.append(torch.from_numpy(pair.lq.pqf[frames]))
        return Batch(torch.stack(lqs), torch.stack(gts), torch.stack(qps).to(device), torch.stack(pqfs).to(device))

    def batches(self, first_step: int, device: torch.device | str = "cpu", ahead: int = 3) -> Iterator[Batch]:
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
                step += 1

        thread = threading.Thread(target=prepare, daemon=True)
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()


def clip_rgb(clip: Clip, frames: slice, device: torch.device | str = "cpu") -> Tensor:
    """Whole frames of a clip as RGB (T, 3, H, W)."""
    return to_rgb([torch.from_numpy(p[frames]).to(device).float()[:, None] for p in clip.planes], clip.colour)


def _crop_rgb(clip: Clip, frames: slice, top: int, left: int, size: int, device: torch.device | str) -> Tensor:
    sx, sy = clip.colour.subsampling
    planes = []
    for i, plane in enumerate(clip.planes):
        dx, dy = (sx, sy) if i else (1, 1)
        cut = plane[frames, top // dy : (top + size) // dy, left // dx : (left + size) // dx]
        planes.append(torch.from_numpy(np.ascontiguousarray(cut)).to(device).float()[:, None])
    return to_rgb(planes, clip.colour)


def _turned(x: Tensor, turn: int) -> Tensor:
    """One of the eight flips and rotations of (..., H, W)."""
    if turn & 4:
        x = x.flip(-1)
    return torch.rot90(x, turn & 3, (-2, -1))
