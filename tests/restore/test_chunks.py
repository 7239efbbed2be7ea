"""Chunks of a stream: every frame kept once, context as stated, memory as stated."""

import itertools
import random

import numpy as np
import pytest

from vqe_cli.restore import chunks as module
from vqe_cli.restore.chunks import Chunk, ChunkSizes, chunks, context, frames_held
from vqe_cli.video.frame import Frame

PLANE = np.zeros((2, 2), np.uint8)


def stream(
    length: int, cuts: set[int] = frozenset(), peaks: set[int] = frozenset(), repeats: set[int] = frozenset()
) -> list[tuple[Frame, bool]]:
    """Frames 0 … length - 1, some of them first of a scene, peaks, or equal to the frame before."""
    return [
        (
            Frame(t, (PLANE,), t, pqf=t in peaks, duplicate_of=t - 1 if t in repeats else None),
            t in cuts,
        )
        for t in range(length)
    ]


def positions(chunk: Chunk) -> tuple[list[int], list[int], list[int]]:
    """Indices of the left context, the kept frames and the right context."""
    indices = [frame.index for frame in chunk.frames]
    return indices[: chunk.start], indices[chunk.start : chunk.stop], indices[chunk.stop :]


def test_one_long_scene() -> None:
    found = [positions(chunk) for chunk in chunks(stream(50), ChunkSizes(10, 4, 0))]
    assert [kept for _, kept, _ in found] == [
        list(range(0, 14)),  # nothing lies before it, so it keeps its left end
        list(range(14, 24)),
        list(range(24, 34)),
        list(range(34, 44)),
        list(range(44, 50)),
    ]
    assert [left for left, _, _ in found] == [
        [],
        list(range(10, 14)),
        list(range(20, 24)),
        list(range(30, 34)),
        list(range(32, 44)),  # shifted back to the full window instead of a short tail
    ]
    assert all(len(left + kept + right) == 18 for left, kept, right in found)


def test_a_scene_that_fits_the_window_is_one_chunk() -> None:
    sizes = ChunkSizes(10, 4, 2)
    for length in range(1, 19):
        (chunk,) = chunks(stream(length), sizes)
        assert positions(chunk) == ([], list(range(length)), [])
    assert len(list(chunks(stream(19), sizes))) == 2


@pytest.mark.parametrize("seed", range(60))
def test_any_stream(seed: int) -> None:
    """Kept once and in order, never across a cut, context as asked, duplicates with their picture."""
    draw = random.Random(seed)
    length = draw.randint(1, 160)
    chosen = [{t for t in range(1, length) if draw.random() < share} for share in (0.02, 0.2, 0.15)]
    cuts, peaks, repeats = chosen[0], chosen[1], chosen[2] - chosen[0]
    sizes = ChunkSizes(draw.randint(1, 20), draw.randint(0, 8), draw.randint(0, 5))
    found = list(chunks(stream(length, cuts, peaks, repeats), sizes))

    shown = [frame.index for chunk in found for group in chunk.shown for frame in group]
    assert shown == list(range(length))
    starts = sorted({0, *cuts})
    scene_of = {t: max(s for s in starts if s <= t) for t in range(length)}
    distinct = {s: [t for t in range(length) if scene_of[t] == s and t not in repeats] for s in starts}
    for chunk in found:
        left, kept, right = positions(chunk)
        scene = distinct[scene_of[kept[0]]]
        whole = left + kept + right
        assert whole == scene[scene.index(whole[0]) : scene.index(whole[-1]) + 1]
        assert [group[0].index for group in chunk.shown] == kept
        assert len(left) >= min(sizes.overlap, scene.index(kept[0]))
        assert len(right) >= min(sizes.overlap, len(scene) - 1 - scene.index(kept[-1]))
        if len(scene) >= sizes.window:
            assert len(whole) >= sizes.window
        first, last = scene.index(kept[0]), scene.index(kept[-1])
        for sign, edge in ((-1, first), (1, last)):
            for least in (1, 2):
                near = [edge + sign * d for d in range(least, 2 * sizes.period + 1)]
                nearest = [t for t in near if 0 <= t < len(scene) and scene[t] in peaks][:1]
                assert all(scene[t] in whole for t in nearest)


@pytest.mark.parametrize(("chunk", "overlap", "period"), [(8, 0, 0), (16, 10, 4), (3, 1, 8), (1, 0, 4)])
def test_memory_is_bounded_by_the_formula(chunk: int, overlap: int, period: int, monkeypatch) -> None:
    sizes, held = ChunkSizes(chunk, overlap, period), [0]
    original = module._Scene.add

    def add(self, frame):
        original(self, frame)
        held.append(len(self.shown))

    monkeypatch.setattr(module._Scene, "add", add)
    peaks = {t for t in range(1000) if t % 9 == 0}
    consumed = sum(len(c.shown) for c in chunks(stream(1000, peaks=peaks), sizes))
    assert consumed == 1000
    assert max(held) <= frames_held(sizes)


def test_a_chunk_comes_as_soon_as_its_context_is_there() -> None:
    sizes, read = ChunkSizes(4, 2, 1), []
    source = (read.append(frame.index) or (frame, cut) for frame, cut in stream(100))
    next(chunks(source, sizes))
    assert read[-1] == 8  # kept 0 … 5, context 6 and 7, and one more that shows 7 has no duplicates


def test_context_reaches_to_the_nearest_peak_on_each_side() -> None:
    marks = [t in (3, 20) for t in range(30)]
    assert context(marks, 10, 14, ChunkSizes(4, 2, 4)) == (3, 21)
    assert context(marks, 10, 14, ChunkSizes(4, 2, 3)) == (8, 16)  # 7 away is more than 2 x 3
    marks[9] = True  # the network wants a peak at distance two or more, too
    assert context(marks, 10, 14, ChunkSizes(4, 0, 4)) == (3, 21)


def test_duplicates_share_the_planes_and_a_standstill_ends() -> None:
    frames = stream(600, repeats=set(range(1, 600)))
    found = list(chunks(iter(frames), ChunkSizes(8, 0, 0)))
    groups = list(itertools.chain.from_iterable(chunk.shown for chunk in found))
    assert [len(group) for group in groups] == [257, 257, 86]
    assert all(frame.planes is group[0].planes for group in groups for frame in group)
