"""The clips of a data folder: found, paired, checked, and decoded once into a cache of bounded size.

A data folder holds `raw/NAME.*` (the truth) and `lq/RECIPE/NAME.*` (its compressed versions): video files or
folders of PNG pictures. What stage I made of the versions may lie beside lq/, in a folder laid out alike.
What does not fit into the cache as a whole is fed in groups, the next one decoded while the present one is
learned from; which group a step sees depends on the step alone.
"""

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vqe_cli.errors import VqeError
from vqe_cli.machine import usable_cores
from vqe_cli.training import data
from vqe_cli.training.data import Clip, Pair
from vqe_cli.training.schema import DataConfig

# What lies in a data folder without being a clip.
NOT_CLIPS = {".json", ".md", ".txt", ".csv", ".yaml", ".log"}
# How often each pair of a group is drawn before the next group's turn: enough to decode that one meanwhile.
DRAWS_PER_PAIR = 64
DECODERS = min(8, usable_cores())


@dataclass(frozen=True)
class Source:
    """The files of a pair, before decoding."""

    recipe: str
    """The folder below lq/."""
    name: str
    """Of the clip."""
    lq: Path
    """The compressed version, which QPs and peaks are from."""
    gt: Path
    """The truth."""
    given: Path
    """Whose pictures are the input: `lq`, or what stage I made of it."""


def clips_below(folder: Path) -> dict[str, Path]:
    """Clips of a folder by name: video files by their stem, picture folders by their name.

    Raises VqeError when there is no such folder, and for two clips of one name.
    """
    if not folder.is_dir():
        raise VqeError(f"{folder} is not a folder.", "A data folder holds raw/ and lq/RECIPE/.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or (path.is_file() and path.suffix.lower() in NOT_CLIPS):
            continue
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise VqeError(f"{found[name]} and {path} have one name.", "Rename or remove one of them.")
        found[name] = path
    return found


def find_sources(folder: Path, recipes: list[str], inputs: str = "lq") -> list[Source]:
    """The pairs of the named recipes below `folder`, pictures from its folder `inputs`.

    Raises VqeError, with all problems together: folders that are missing or empty, versions without a truth
    or without the picture's file.
    """
    truths = clips_below(folder / "raw")
    problems: list[str] = []
    sources = []
    for recipe in recipes:
        try:
            versions = clips_below(folder / "lq" / recipe)
            given = clips_below(folder / inputs / recipe)
        except VqeError as error:
            problems.append(error.message.rstrip("."))
            continue
        if not versions:
            problems.append(f"{folder / 'lq' / recipe} holds no clips")
        for name, path in versions.items():
            if name not in truths:
                problems.append(f"{path} has no truth {folder / 'raw' / name}.*")
            elif name not in given:
                problems.append(f"{path} has no {folder / inputs / recipe / name}.*")
            else:
                sources.append(Source(recipe, name, path, truths[name], given[name]))
    if problems:
        raise VqeError(
            "; ".join(problems) + ".", "Fix or remove these; a data folder holds raw/ and lq/RECIPE/."
        )
    return sources


class Library:
    """The pairs of a data folder, in memory (or on the device) as far as the cache goes.

    Every pair is decoded and checked when the library is made. `removed` counts the duplicate frames taken
    out.
    """

    def __init__(self, sources: list[Source], config: DataConfig, device: torch.device, batch: int) -> None:
        """batch: clips that a step draws, of all processes together.

        Raises VqeError with every clip that cannot be read and every pair that does not fit together.
        """
        self.config = config
        self.place = device if config.cache == "device" else None
        self.limit = config.cache_gib * 2**30
        self.removed = 0
        self.decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self.ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self.turns: dict[int, Future[list[Pair]]] = {}
        whole, sizes = self._check(sources)
        self.groups = [sources] if whole is not None else _grouped(sources, sizes, self.limit / 2)
        if whole is not None:
            self.turns[0] = Future()
            self.turns[0].set_result(whole)
        per_group = len(sources) / max(1, len(self.groups))
        self.steps_per_group = max(1, math.ceil(DRAWS_PER_PAIR * per_group / batch))

    def pairs_at(self, step: int) -> list[Pair]:
        """What a step draws from; waits when it is not decoded yet, and begins with the next group."""
        count = len(self.groups)
        turn = step // self.steps_per_group
        wanted = [turn % count, (turn + 1) % count]
        self.turns = {group: future for group, future in self.turns.items() if group in wanted}
        for group in wanted:
            if group not in self.turns:
                self.turns[group] = self.ahead.submit(self._load, self.groups[group])
        return self.turns[wanted[0]].result()

    def _check(self, sources: list[Source]) -> tuple[list[Pair] | None, dict[str, int]]:
        """Decode everything once: all pairs if they fit into the cache (else None), and the bytes by clip
        name."""
        kept: list[Pair] = []
        sizes: dict[str, int] = {}
        problems: list[str] = []
        for name, pairs, wrong, removed in self._decoded(sources):
            problems += wrong
            self.removed += removed
            sizes[name] = _nbytes(pairs)
            if sum(sizes.values()) <= self.limit:
                kept += pairs
            else:
                kept.clear()
        if problems:
            raise VqeError("; ".join(problems) + ".", "Fix or remove these clips.")
        return (kept if sum(sizes.values()) <= self.limit else None), sizes

    def _load(self, sources: list[Source]) -> list[Pair]:
        return [pair for _, pairs, _, _ in self._decoded(sources) for pair in pairs]

    def _decoded(self, sources: list[Source]) -> Iterator[tuple[str, list[Pair], list[str], int]]:
        """Name by name: the pairs, what is wrong with them, duplicates removed; a few are decoded side by
        side."""
        by_name: dict[str, list[Source]] = {}
        for source in sources:
            by_name.setdefault(source.name, []).append(source)
        order = list(by_name)
        for begin in range(0, len(order), DECODERS):
            names = order[begin : begin + DECODERS]
            results = self.decoders.map(lambda name: decode_pairs(by_name[name], self.config), names)
            for name, (pairs, problems, removed) in zip(names, results, strict=True):
                if self.place is not None:
                    pairs = [_placed(pair, self.place) for pair in pairs]
                yield name, pairs, problems, removed


def decode_pairs(sources: list[Source], config: DataConfig) -> tuple[list[Pair], list[str], int]:
    """The pairs of one truth, what is wrong with them, and how many duplicate frames were taken out."""
    pairs: list[Pair] = []
    problems: list[str] = []
    removed = 0
    try:
        gt = data.decode_clip(sources[0].gt)
    except VqeError as error:
        return pairs, [str(error).rstrip(".")], removed
    for source in sources:
        try:
            compressed = data.decode_clip(source.lq, config.pqf, config.pqf_rule)
            lq = with_pictures(compressed, source)
        except VqeError as error:
            problems.append(str(error).rstrip("."))
            continue
        wrong = mismatch(source.lq, lq, gt, config)
        if wrong:
            problems += wrong
            continue
        drop = data.duplicates(compressed) if config.duplicates == "remove" else frozenset()
        # A clip that hardly moves may have too few frames left: it stays as it is.
        if drop and lq.frames - len(drop) >= config.frames:
            removed += len(drop)
            lq = with_pictures(data.decode_clip(source.lq, config.pqf, config.pqf_rule, drop), source, drop)
            pairs.append(agreed(source.recipe, lq, data.decode_clip(source.gt, drop=drop)))
        else:
            pairs.append(agreed(source.recipe, lq, gt))
    return pairs, problems, removed


def with_pictures(lq: Clip, source: Source, drop: frozenset[int] = frozenset()) -> Clip:
    """The compressed clip with its pictures from `source.given`, without the frames `drop`.

    Raises VqeError when that cannot be read or has not its frames.
    """
    if source.given == source.lq:
        return lq
    given = data.decode_clip(source.given, drop=drop)
    if given.frames != lq.frames:
        raise VqeError(f"{source.given} has {given.frames} frames, {source.lq} {lq.frames}.", "Make it anew.")
    return replace(given, qp=lq.qp, pqf=lq.pqf)


def agreed(recipe: str, lq: Clip, gt: Clip) -> Pair:
    """A pair whose untagged side is read by the tagged side's matrix."""
    if lq.colour.matrix != gt.colour.matrix and "rgb" not in (lq.colour.matrix, gt.colour.matrix):
        if lq.colour.guessed and not gt.colour.guessed:
            lq = replace(lq, colour=replace(lq.colour, matrix=gt.colour.matrix))
        elif gt.colour.guessed and not lq.colour.guessed:
            gt = replace(gt, colour=replace(gt.colour, matrix=lq.colour.matrix))
    return Pair(recipe, lq, gt, data.picture_errors(lq, gt))


def mismatch(path: Path, lq: Clip, gt: Clip, config: DataConfig) -> list[str]:
    """Why a compressed clip cannot be learned from with this truth and this config."""
    problems = []
    if lq.frames != gt.frames:
        problems.append(f"{path} has {lq.frames} frames, its truth {gt.frames}")
    (lh, lw), (gh, gw) = lq.size, gt.size
    if (lh * config.scale, lw * config.scale) != (gh, gw):
        problems.append(f"{path} is {lw}x{lh}, its truth {gw}x{gh} (data.scale is {config.scale})")
    elif min(lh, lw) < config.crop:
        problems.append(f"{path} is {lw}x{lh}, smaller than data.crop = {config.crop}")
    if lq.frames < config.frames:
        problems.append(f"{path} has {lq.frames} frames, data.frames asks for {config.frames}")
    return problems


def _placed(pair: Pair, device: torch.device) -> Pair:
    return replace(pair, lq=pair.lq.on(device), gt=pair.gt.on(device))


def _nbytes(pairs: list[Pair]) -> int:
    """Bytes of the planes; a truth that several pairs share counts once."""
    return sum({id(clip): clip.nbytes for pair in pairs for clip in (pair.lq, pair.gt)}.values())


def _grouped(sources: list[Source], sizes: dict[str, int], limit: float) -> list[list[Source]]:
    """Clips of at most `limit` bytes together, mixed; all versions of a clip stay together."""
    names = sorted(sizes)
    largest = max(names, key=sizes.__getitem__)
    if sizes[largest] > limit:
        raise VqeError(
            f"the clip {largest} alone takes {sizes[largest] / 2**30:.2f} GiB decoded, more than half of "
            "data.cache_gib.",
            f"Set data.cache_gib to at least {2 * sizes[largest] / 2**30:.2f}, or cut the clip.",
        )
    np.random.default_rng(0).shuffle(names)
    groups: list[list[str]] = [[]]
    room = limit
    for name in names:
        if sizes[name] > room:
            groups.append([])
            room = limit
        groups[-1].append(name)
        room -= sizes[name]
    return [[source for source in sources if source.name in group] for group in groups]
