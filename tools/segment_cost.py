#!/usr/bin/env python3
"""What segments cost in time and bytes, what workers gain, and how soon an interrupted run goes on.

python tools/segment_cost.py samples/lq/bunny.mkv --model fast
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gains import add_networks  # noqa: E402

from vqe_cli.cli.bench import report  # noqa: E402
from vqe_cli.cli.console import say  # noqa: E402
from vqe_cli.restore.ensemble import load_model  # noqa: E402
from vqe_cli.runs.report import Event, Progress, Resumed  # noqa: E402
from vqe_cli.runs.run import enhance  # noqa: E402
from vqe_cli.runs.settings import Settings  # noqa: E402
from vqe_cli.runs.workers import LocalWorkers  # noqa: E402
from vqe_cli.video.coded import decoding_times  # noqa: E402
from vqe_cli.video.opening import each_reading, open_input, video_stream  # noqa: E402


def segment_cost(
    input: Path, options: dict[str, Any], seconds: float, workers: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Enhance a clip of so many seconds, made by looping `input`, whole, in segments, and by workers.

    options: other fields of `Settings`. workers: processes with one core each to compare with one of them, 0
    for no comparison. say: called with what runs. Raises VqeError as `enhance` does.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip = looped(input, Path(folder) / "clip.mkv", seconds)
        settings = Settings(clip, Path(folder) / "out.mkv", **options)
        model = load_model(settings.networks)
        say("whole")
        whole = enhance(replace(settings, segment=0), load=lambda networks: model)
        whole_bytes = settings.output.stat().st_size
        settings.output.unlink()
        say("in segments")
        first = FirstFrame()
        parts = enhance(settings, first.listen, load=lambda networks: model)
        parts_bytes = settings.output.stat().st_size
        settings.output.unlink()
        found: dict[str, Any] = {
            "frames": whole.frames,
            "whole_s": whole.wall_s,
            "segments_s": parts.wall_s,
            "time_percent": 100 * (parts.wall_s / whole.wall_s - 1),
            "whole_bytes": whole_bytes,
            "segments_bytes": parts_bytes,
            "bytes_percent": 100 * (parts_bytes / whole_bytes - 1),
            "first_frame_s": first.seconds,
        }
        say("interrupted at two thirds, and again")
        again = FirstFrame(stop_at=whole.frames * 2 // 3)
        try:
            enhance(settings, again.listen, load=lambda networks: model)
        except KeyboardInterrupt:
            again = FirstFrame()
            kept = enhance(settings, again.listen, load=lambda networks: model).kept_frames
            found |= {"kept_frames": kept, "first_new_frame_s": again.seconds}
            settings.output.unlink()
        if workers:
            rates = {count: _rate(settings, count, say) for count in (1, workers)}
            found |= {"one_worker_fps": rates[1], "workers": workers, "workers_fps": rates[workers]}
            found["gain"] = rates[workers] / rates[1]
    return found


class FirstFrame:
    """A listener that notes when the first new frame of a run is done; stop_at: Ctrl-C after so many."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seconds = 0.0
        self._began = time.perf_counter()
        self._before, self._stop_at = 0, stop_at

    def listen(self, event: Event) -> None:
        """Hears an event."""
        if isinstance(event, Resumed):
            self._before = event.frames
        elif isinstance(event, Progress) and event.frames > self._before:
            self.seconds = self.seconds or time.perf_counter() - self._began
            if event.frames == self._stop_at:
                raise KeyboardInterrupt


def looped(source: Path, target: Path, seconds: float) -> Path:
    """The video of `source`, its packets repeated until it is so long; it begins with a random access
    picture.
    """
    with open_input(source) as container, av.open(str(target.absolute()), "w") as output:
        stream = video_stream(container, source)
        copy = output.add_stream_from_template(stream)
        time_base = stream.time_base or Fraction(1, 1000)
        packets = [packet for packet in each_reading(source, container.demux(stream)) if packet.size]
        shown = sorted(packet.pts or 0 for packet in packets)
        length = shown[-1] - shown[0] + round((shown[-1] - shown[0]) / (len(shown) - 1))
        times_over = max(1, round(seconds / float(length * time_base)))
        times = [(packet.pts or 0) + turn * length for turn in range(times_over) for packet in packets]
        for packet, pts, dts in zip(packets * times_over, times, decoding_times(times), strict=True):
            again = av.Packet(bytes(packet))
            again.pts, again.dts, again.time_base = pts, dts, time_base
            again.is_keyframe, again.stream = packet.is_keyframe, copy
            output.mux(again)
    return target


def _rate(settings: Settings, workers: int, say: Callable[[str], None]) -> float:
    """Frames a second of so many workers with one core each, their start included."""
    say(f"{workers} worker{'' if workers == 1 else 's'}")
    with LocalWorkers(["cpu"] * workers, one_core=True) as pool:
        fps = enhance(settings, pool=pool).fps
    settings.output.unlink()
    return fps


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("input", type=Path, help="a video, which is looped")
    add_networks(parser)
    parser.add_argument("--seconds", type=float, default=120, help="length of the looped clip")
    parser.add_argument("--workers", type=int, default=2, help="compared with one; 0: not at all")
    given = parser.parse_args(arguments)
    options = {"model": given.model, "weights": tuple(given.weights)}
    found = segment_cost(given.input, options, given.seconds, given.workers, say)
    report("Segments", found, given.json)


if __name__ == "__main__":
    main()
