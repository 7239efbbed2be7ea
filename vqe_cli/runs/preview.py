"""A look before the long run: a few moments of a video, enhanced as the run would enhance them, and what the
whole would take on this machine.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

from vqe_cli.bitstream.peaks import qp_step
from vqe_cli.errors import InputError, SettingsError
from vqe_cli.restore.choices import PeakRule
from vqe_cli.restore.chunks import Chunk, ChunkSizes, context
from vqe_cli.restore.engine import Enhancer, Model
from vqe_cli.restore.ensemble import load_model
from vqe_cli.restore.marking import PeakCount, mark_peaks, scene_starts
from vqe_cli.restore.summaries import measured
from vqe_cli.runs.plan import Plan, plan
from vqe_cli.runs.settings import Settings
from vqe_cli.text import clock_text
from vqe_cli.video.coded import Coded
from vqe_cli.video.coders import new_coder
from vqe_cli.video.colour import to_arrays, to_tensors, upscale_planes
from vqe_cli.video.frame import Colour, Frame, VideoInfo
from vqe_cli.video.images import is_right_angle, levels_of, turned
from vqe_cli.video.moments import Surroundings, duration, frames_around, worst_moments
from vqe_cli.video.pipes import STDIN

# Moments that are chosen where none are given.
MOMENTS = 3
# Frames around a moment by which is known whether it is a peak.
PEAKS_AROUND = 8
# Frames that are encoded to know how long that takes and how large they are, and how often a key picture
# comes in the whole file.
ENCODED, KEY_DISTANCE = 8, 250


@dataclass(frozen=True)
class Shown:
    """One moment, before and after; pictures are RGB (h, w, 3) uint8, turned as the video is shown."""

    seconds: float
    """After the first picture."""

    qp: float | None
    """On the codec's own scale; None when unknown."""

    peak: bool
    before: np.ndarray
    after: dict[str, np.ndarray]
    """By model."""


@dataclass(frozen=True)
class Cost:
    """What the whole file would take on this machine; None where its length is unknown."""

    model: str
    device: str
    seconds: float | None
    bytes: int | None
    """Of the video stream."""


@dataclass(frozen=True)
class Preview:
    """All that a page shows."""

    info: VideoInfo
    scale: int
    frames: int | None
    """Of the whole file, as far as headers tell."""

    moments: tuple[Shown, ...]
    costs: tuple[Cost, ...]
    codec: str
    """Encoder that the sizes hold for."""

    warnings: tuple[str, ...]


def preview(
    settings: Settings,
    models: Sequence[str | None],
    at: Sequence[float] = (),
    listen: Callable[[str], None] = lambda step: None,
) -> Preview:
    """Enhance a few moments with every model.

    settings: of the run, whose output and model do not count. at: seconds after the first picture; without
    any, moments spread over the video, the most compressed ones. listen: called with what is done next.
    Raises VqeError as `plan` does, and for a time behind the end.
    """
    listen("reading headers")
    if settings.input == STDIN:
        raise InputError("a preview looks at several places, which a pipe cannot.", "Name a file.")
    plans, loaded = [], []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            chosen = replace(settings, output=Path(folder) / "out.mkv", model=model)
            plans.append(plan(chosen))
            loaded.append(load_model(chosen.networks))
    info = plans[0].info
    names = [each.name for each in loaded]
    if len(set(names)) < len(names):
        raise SettingsError("--model names one model twice.", "Name each once.")
    engines = [
        each.start(one.size_choice, info.colour, (info.height, info.width))
        for one, each in zip(plans, loaded, strict=True)
    ]
    times = list(at) or worst_moments(settings.input, info, MOMENTS)
    check_times(info, times)
    found, paces = _looked_at(settings, times, info, dict(zip(names, engines, strict=True)), listen)
    listen("encoding a few frames")
    encoding = encoded(plans[0], found[0][0])
    return Preview(
        info=info,
        scale=settings.scale,
        frames=plans[0].summary.frames,
        moments=tuple(_shown(near, after, info) for near, after in found),
        costs=tuple(
            _cost(one, each, paces[each.name], encoding, found[0][0].decode_s)
            for one, each in zip(plans, loaded, strict=True)
        ),
        codec=plans[0].written.codec,
        warnings=tuple(dict.fromkeys(warning for one in plans for warning in one.warnings)),
    )


def _looked_at(
    settings: Settings,
    times: Sequence[float],
    info: VideoInfo,
    engines: dict[str, Enhancer],
    listen: Callable[[str], None],
) -> tuple[list[tuple[Surroundings, dict[str, np.ndarray]]], dict[str, float]]:
    """Each moment with its enhanced pictures by model; and by model, seconds for a frame of the file."""
    around = max(engine.sizes.chunks.reach for engine in engines.values()) + PEAKS_AROUND
    found: list[tuple[Surroundings, dict[str, np.ndarray]]] = []
    paces: dict[str, float] = {}
    for seconds in times:
        listen(f"decoding around {clock_text(seconds)}")
        near = frames_around(settings.input, seconds, around, settings.progressive)
        if any(near.seconds == other.seconds for other, _ in found):
            continue
        after = {}
        for name, engine in engines.items():
            listen(f"{name} at {clock_text(seconds)}")
            after[name], pace = enhanced(near, engine, info)
            paces[name] = min(pace, paces.get(name, pace))
        found.append((near, after))
    return found, paces


def check_times(info: VideoInfo, times: Sequence[float]) -> None:
    """Raises InputError for a time behind the end, as far as headers tell where that is."""
    length = duration(info)
    for seconds in times:
        if length is not None and seconds > length:
            raise InputError(
                f"{info.path} ends at {clock_text(length)}, before --at {clock_text(seconds)}.",
                "Choose an earlier time.",
            )


def chunk_around(near: Surroundings, info: VideoInfo, sizes: ChunkSizes) -> Chunk:
    """The moment's frame as a chunk of its own, with the context that the networks look at."""
    scenes = scene_starts((each.frame, each.difference) for each in measured(near.frames, info.colour))
    marked = list(mark_peaks(scenes, PeakRule(step=qp_step(info.codec)), PeakCount()))
    starts = [t for t, (_, cut) in enumerate(marked) if cut]
    first = max([0, *(t for t in starts if t <= near.at)])
    stop = min([len(marked), *(t for t in starts if t > near.at)])
    frames: list[Frame] = []
    at = 0
    for t in range(first, stop):
        frame = marked[t][0]
        if t == first or frame.duplicate_of is None:
            frames.append(frame)
        if t == near.at:
            at = len(frames) - 1
    begin, end = context([frame.pqf for frame in frames], at, at + 1, sizes)
    return Chunk(tuple(frames[begin:end]), at - begin, at - begin + 1, ((frames[at],),))


def enhanced(near: Surroundings, engine: Enhancer, info: VideoInfo) -> tuple[np.ndarray, float]:
    """The moment's enhanced picture, and seconds that a frame of the whole file will take."""
    sizes = engine.sizes.chunks
    chunk = chunk_around(near, info, sizes)
    began = time.perf_counter()
    [(_, planes)] = engine.enhanced([chunk])
    took = time.perf_counter() - began
    return shown_pixels(planes, info), took / len(chunk.frames) * sizes.window / sizes.chunk


def encoded(plan: Plan, near: Surroundings) -> tuple[float, float]:
    """(seconds, bytes) that encoding takes for each frame, by some frames as they are now."""
    info, target = plan.info, plan.written.target
    coder = new_coder(target, info, plan.encoding, plan.output.scale)
    first = max(0, min(near.at, len(near.frames) - ENCODED))
    packets: list[Coded] = []
    frames = near.frames[first : first + ENCODED]
    pictures = [_enlarged(frame.planes, info.colour, plan.output.scale) for frame in frames]
    began = time.perf_counter()
    for number, (frame, planes) in enumerate(zip(frames, pictures, strict=True)):
        packets += coder.encode(planes, replace(frame, pts=frame.pts if frame.pts is not None else number))
    packets += coder.flush()
    took = time.perf_counter() - began
    keys = [len(packet.data) for packet in packets if packet.keyframe]
    others = [len(packet.data) for packet in packets if not packet.keyframe]
    size = np.mean(keys or others)
    if others:
        size = (size + (KEY_DISTANCE - 1) * np.mean(others)) / KEY_DISTANCE
    return took / len(frames), float(size)


def _enlarged(planes: tuple[np.ndarray, ...], colour: Colour, scale: int) -> tuple[np.ndarray, ...]:
    if scale == 1:
        return planes
    return to_arrays(upscale_planes(to_tensors(planes), colour, scale), colour.bit_depth)


def _cost(plan: Plan, model: Model, pace: float, encoding: tuple[float, float], decode_s: float) -> Cost:
    """What the whole takes: on a CPU one part waits for the other, on other devices they overlap."""
    frames = plan.summary.frames
    parts = (pace, encoding[0], decode_s)
    each = sum(parts) if model.compute.device.type == "cpu" else max(parts)
    return Cost(
        model.name,
        model.compute.name,
        None if frames is None else frames * each,
        None if frames is None else round(frames * encoding[1]),
    )


def _shown(near: Surroundings, after: dict[str, np.ndarray], info: VideoInfo) -> Shown:
    frame = near.frames[near.at]
    marked = chunk_around(near, info, ChunkSizes(1, 0, 0)).frames[0]
    return Shown(near.seconds, frame.qp, marked.pqf, shown_pixels(frame.planes, info), after)


def shown_pixels(planes: tuple[np.ndarray, ...], info: VideoInfo) -> np.ndarray:
    """RGB (h, w, 3) uint8 of a picture with square pixels, turned as the video is shown."""
    levels = levels_of(planes, info.colour)
    if levels.dtype == np.uint16:
        levels = (levels >> 8).astype(np.uint8)
    if levels.ndim == 2:
        levels = np.stack([levels] * 3, axis=2)
    if info.sample_aspect not in (None, 1):
        levels = resized(levels, round(levels.shape[1] * info.sample_aspect), levels.shape[0])
    if info.display_matrix and is_right_angle(info.display_matrix):
        levels = turned(levels, info.display_matrix)
    return np.ascontiguousarray(levels)


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixels (h, w, 3) uint8 at another size."""
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return picture.reformat(width=max(1, width), height=height, interpolation="BICUBIC").to_ndarray()
