"""Text as pixels, from pictures of glyphs that ship with the package (see glyphs/LICENSE.txt)."""

import math
from functools import lru_cache
from importlib.resources import files

import numpy as np

GLYPHS = "glyphs/dejavu_sans_32px.npz"
MARGIN = 2  # Empty columns before each glyph in the file.


def text_width(words: str, size: float, bold: bool = False) -> float:
    """Width in pixels of words as they are drawn here (and about so by a browser)."""
    _, advance, positions, em, _ = _glyphs(bold)
    return sum(float(advance[_index(positions, letter)]) for letter in words) * size / em


def fitted(words: str, size: float, width: float, bold: bool = False) -> str:
    """The words, or where they are wider than `width` pixels both of their ends."""
    if text_width(words, size, bold) <= width:
        return words
    kept = len(words)
    while kept > 2:
        kept -= max(1, kept // 16)
        short = f"{words[: kept - kept // 2]}...{words[len(words) - kept // 2 :]}"
        if text_width(short, size, bold) <= width:
            return short
    return words[:kept]


def written(words: str, size: float, bold: bool) -> tuple[np.ndarray, int, float]:
    """Words of `size` pixels per em as covering shares (h, w), the row of their baseline, and their width."""
    atlas, advance, positions, em, baseline = _glyphs(bold)
    shrink = size / em
    indices = [_index(positions, letter) for letter in words]
    starts = np.concatenate([[0.0], np.cumsum([float(advance[i]) for i in indices])])
    row = np.zeros((atlas.shape[1], math.ceil(starts[-1]) + atlas.shape[2]), np.float32)
    for index, start in zip(indices, starts[:-1], strict=True):
        left = round(start)
        piece = row[:, left : left + atlas.shape[2]]
        np.maximum(piece, atlas[index][:, : piece.shape[1]], out=piece)
    row = row[:, MARGIN:]
    height, width = math.ceil(row.shape[0] * shrink), math.ceil(row.shape[1] * shrink)
    # The baseline falls on a whole row, so that lines of text stand sharp.
    top = baseline - round(baseline * shrink) / shrink
    small = _averaged(_averaged(row, 0, height, 1 / shrink, top), 1, width, 1 / shrink, 0.0)
    return small, round(baseline * shrink), float(starts[-1]) * shrink


def _averaged(values: np.ndarray, axis: int, length: int, step: float, start: float) -> np.ndarray:
    """Means over stretches of `step` samples from `start` on along an axis; zeros beyond the ends."""
    sums = np.cumsum(values, axis=axis, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
    edges = np.clip(start + step * np.arange(length + 1), 0, values.shape[axis])
    below = np.minimum(np.floor(edges).astype(int), values.shape[axis] - 1)
    weight = (edges - below).reshape([-1 if axis == a else 1 for a in range(2)])
    at = sums.take(below, axis) * (1 - weight) + sums.take(below + 1, axis) * weight
    return (np.diff(at, axis=axis) / step).astype(np.float32)


@lru_cache
def _glyphs(bold: bool) -> tuple[np.ndarray, np.ndarray, dict[str, int], float, int]:
    """Pictures (N, h, w) of 0 … 1, their advances, position by character, pixels per em, baseline row."""
    name = "bold" if bold else "regular"
    with (files("vqe_cli.measure") / GLYPHS).open("rb") as source, np.load(source) as stored:
        positions = {chr(code): index for index, code in enumerate(stored["characters"])}
        atlas = stored[name].astype(np.float32) / 255
        return (
            atlas,
            stored[f"{name}_advance"],
            positions,
            float(stored["pixels_per_em"]),
            int(stored["baseline"]),
        )


def _index(positions: dict[str, int], letter: str) -> int:
    """Where a letter's glyph is; a question mark stands for what is not there."""
    return positions.get(letter, positions["?"])
