"""How fast `enhance` would be with a file on this machine, by pipeline and engine, and where the time goes.

A few of the file's own frames are decoded, enhanced and encoded, each part by itself; what they take is
scaled to the whole file.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vqe_cli.errors import DeviceError, InputError
from vqe_cli.machine import usable_cores
from vqe_cli.restore.chunks import Chunk
from vqe_cli.restore.engine import Enhancer
from vqe_cli.restore.ensemble import load_model
from vqe_cli.restore.stages import Tiling
from vqe_cli.runs.plan import Input, Plan, plan
from vqe_cli.runs.settings import Settings
from vqe_cli.video.coders import new_coder
from vqe_cli.video.colour import to_arrays, to_tensors, upscale_planes
from vqe_cli.video.frame import Frame

MODELS = ("fast", "balanced")
DECODED, ENCODED, CLIP = 24, 10, 3  # frames
# Pixels of a picture that networks are measured on; of a larger one the middle, and the time is scaled.
MOST_PIXELS = {"image": 1920 * 1088, "video": 640 * 360}
ALIGNED = 16  # pixels, that sides of such a middle are a multiple of
PATIENCE_S = 8.0  # after which a pipeline is not measured again
BUSY = 0.5  # processes that already compute for each core, from which on figures are too low


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of CPU time."""

    wall: float = 0.0
    cpu: float = 0.0

    def times(self, factor: float) -> "Spent":
        return Spent(self.wall * factor, self.cpu * factor)


class Meter:
    """`with Meter() as meter: ...`, then `meter.spent`; CPU time is that of all threads."""

    def __enter__(self) -> "Meter":
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = self._began
        self.spent = Spent(time.perf_counter() - wall, time.process_time() - cpu)


def bench_file(
    input: Path,
    models: Sequence[str | None] = MODELS,
    options: dict[str, Any] | None = None,
    listen: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """What each pipeline would take for `input`, by each engine.

    models: names of weights.toml. options: other fields of `Settings`. listen: called with what is done next.

    Gives the input, the device, "rows" and "auto". A row has the pipeline, engine and precision, frames a
    second, seconds for the whole file (None where its length is unknown), milliseconds of a frame for
    decoding, networks and encoding, and what is the bottleneck; "auto" is what each pipeline would run with.
    Raises VqeError as `plan` does.
    """
    options = options or {}
    rows, chosen = [], []
    frames: list[Frame] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            settings = Settings(input, Path(folder) / "out.mkv", model=model, **options)
            opened = Input(settings)
            with opened.reader:
                by_itself = plan(settings, input=opened)
                if not frames:
                    listen("decoding and encoding a few frames")
                    frames, decode = decoded(opened)
                    encode = encoded(by_itself, frames)
            chosen.append({**asdict(by_itself.summary), "codec": by_itself.written.codec})
            for planned in by_engine(by_itself, settings):
                listen(f"{planned.summary.model} by {planned.summary.engine}")
                rows.append(row(planned, enhanced(planned, frames), decode, encode))
    summary = by_itself.summary
    return {
        "input": f"{input.name}, {summary.size_in[0]}x{summary.size_in[1]}",
        "frames": summary.frames,
        "device": summary.device,
        "cores": usable_cores(),
        "busy": is_busy(),
        "rows": rows,
        "auto": chosen,
    }


def by_engine(chosen: Plan, settings: Settings) -> list[Plan]:
    """The plan for every engine that can compute it; the chosen one alone where the settings name it."""
    found = []
    for engine in ("torch", "openvino") if settings.engine == "auto" else (chosen.summary.engine,):
        try:
            same = engine == chosen.summary.engine
            found.append(chosen if same else plan(replace(settings, engine=engine)))
        except DeviceError:
            continue  # OpenVINO is not there, or has nothing to do here
    return [replace(each, networks=replace(each.networks, engine=each.summary.engine)) for each in found]


def is_busy() -> bool:
    """Whether other processes compute so much that what is measured is too slow."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY * usable_cores()


def decoded(opened: Input) -> tuple[list[Frame], Spent]:
    """The first frames of an input, and what each of some more takes."""
    with Meter() as meter:
        reader = iter(opened.reader)
        frames = list(islice(reader, ENCODED))
        count = len(frames) + sum(1 for _ in islice(reader, DECODED - ENCODED))
    if not frames:
        raise InputError(f"{opened.source.path} has no frames.", "Check --start and --frames.")
    return frames, meter.spent.times(1 / count)


def encoded(planned: Plan, frames: Sequence[Frame]) -> Spent:
    """What encoding takes for a frame: some frames as they are, enlarged where the result is larger."""
    colour, scale = planned.info.colour, planned.output.scale
    pictures = [frame.planes for frame in frames]
    if scale > 1:
        pictures = [
            to_arrays(upscale_planes(to_tensors(planes), colour, scale), colour.bit_depth)
            for planes in pictures
        ]
    coder = new_coder(planned.written.target, planned.info, planned.encoding, scale)
    with Meter() as meter:
        for number, (frame, planes) in enumerate(zip(frames, pictures, strict=True)):
            coder.encode(planes, replace(frame, pts=frame.pts if frame.pts is not None else number))
        coder.flush()
    return meter.spent.times(1 / len(frames))


def enhanced(planned: Plan, frames: Sequence[Frame]) -> Spent:
    """What the networks take for a frame of the file, with what is computed twice for chunks and tiles.

    Of a video network two runs tell frames that are kept from those that are context alone.
    """
    model = load_model(planned.networks)
    whole = model.start(planned.size_choice, planned.info.colour, size_of(frames[0]))
    is_video = any(stage.is_video for stage in whole.stages)
    most = MOST_PIXELS["video" if is_video else "image"]
    clip = [middle(frame, most) for frame in islice(frames, CLIP)]
    engine = whole
    if size_of(clip[0]) != size_of(frames[0]):
        engine = model.start(planned.size_choice, planned.info.colour, size_of(clip[0]))
    larger = computed_pixels(whole, size_of(frames[0])) / computed_pixels(engine, size_of(clip[0]))
    began = time.perf_counter()
    all_kept = of_chunk(engine, clip, len(clip))
    if time.perf_counter() - began < PATIENCE_S:  # the first run prepares much; the second is what others are
        all_kept = of_chunk(engine, clip, len(clip))
    if not is_video or len(clip) == 1 or time.perf_counter() - began > PATIENCE_S:
        sizes = planned.sizes.chunks
        context = sizes.window / sizes.chunk if is_video else 1.0
        return all_kept.times(larger * context / len(clip))
    one_kept = of_chunk(engine, clip, 1)
    return spread(one_kept, all_kept, len(clip), planned).times(larger)


def spread(one_kept: Spent, all_kept: Spent, length: int, planned: Plan) -> Spent:
    """What a kept frame takes with its share of the context, by runs over `length` frames of which one or all
    were kept."""
    sizes = planned.sizes.chunks

    def of(one: float, every: float) -> float:
        kept = max(0.0, (every - one) / (length - 1))
        any_frame = max(0.0, (one - kept) / length)
        return kept + any_frame * sizes.window / sizes.chunk

    return Spent(of(one_kept.wall, all_kept.wall), of(one_kept.cpu, all_kept.cpu))


def of_chunk(engine: Enhancer, frames: Sequence[Frame], kept: int) -> Spent:
    """What a chunk of these frames takes of which the first `kept` are kept."""
    distinct = tuple(replace(frame, index=number, duplicate_of=None) for number, frame in enumerate(frames))
    chunk = Chunk(distinct, 0, kept, tuple((frame,) for frame in distinct[:kept]))
    with Meter() as meter:
        for _ in engine.enhanced([chunk]):
            pass
    return meter.spent


def size_of(frame: Frame) -> tuple[int, int]:
    """(height, width)."""
    height, width = frame.planes[0].shape
    return height, width


def middle(frame: Frame, most: int) -> Frame:
    """The middle of a picture with about `most` pixels; smaller pictures as they are."""
    height, width = size_of(frame)
    if height * width <= most:
        return frame
    share = (most / (height * width)) ** 0.5
    tall, wide = (max(ALIGNED, int(side * share) // ALIGNED * ALIGNED) for side in (height, width))
    top, left = ((height - tall) // 2 // ALIGNED * ALIGNED, (width - wide) // 2 // ALIGNED * ALIGNED)
    planes = []
    for plane in frame.planes:
        down, right = round(height / plane.shape[0]), round(width / plane.shape[1])
        part = plane[top // down : (top + tall) // down, left // right : (left + wide) // right]
        planes.append(part.copy())
    return replace(frame, planes=tuple(planes))


def computed_pixels(engine: Enhancer, size: tuple[int, int]) -> int:
    """Pixels that the first stage computes of a picture (height, width), those twice that tiles share."""
    tiling: Tiling = engine.stages[0].tiling
    height, width = (sum(stop - start for start, stop in tiling.spans(side)) for side in size)
    return height * width


def row(planned: Plan, network: Spent, decode: Spent, encode: Spent) -> dict[str, Any]:
    """A line of the result. Decoder, networks and encoder each have a thread, and share the cores."""
    parts = {"decode": decode, "network": network, "encode": encode}
    seconds = {name: spent.wall for name, spent in parts.items()}
    seconds["all cores"] = sum(spent.cpu for spent in parts.values()) / usable_cores()
    bottleneck = max(seconds, key=lambda name: seconds[name])
    each, summary = seconds[bottleneck], planned.summary
    return {
        "pipeline": summary.model,
        "engine": summary.engine,
        "precision": summary.precision,
        "fps": 1 / each,
        "whole_file_s": None if summary.frames is None else summary.frames * each,
        **{f"{name}_ms": 1000 * spent.wall for name, spent in parts.items()},
        "bottleneck": bottleneck,
    }
