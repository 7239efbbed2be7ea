"""Broken files of every container through `inspect` and `enhance`: a result or one sentence, nothing else."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from forking import Forker
from made_clips import picture, write_clip
from tiny_weights import write_registry

pytestmark = pytest.mark.slow

INSPECTED, ENHANCED = 300, 100
# Processor's time of a run after which it hangs; a busy machine needs more of the clock for it.
HANG_CPU_S, HANG_S = 10, 60
CODECS = {
    "a.mkv": "libx265",
    "b.mp4": "libx265",
    "c.mov": "libx264",
    "d.ts": "libx265",
    "e.avi": "mpeg4",
    "f.webm": "libvpx-vp9",
    "g.png": "png",
    "h.y4m": "wrapped_avframe",
    "i.hevc": "libx265",
    "j.mkv": "ffv1",
    "k.jpg": "mjpeg",
}
SOUND = {"a.mkv", "j.mkv"}
SUFFIX = {".png": ".png", ".jpg": ".png", ".mov": ".mov", ".mp4": ".mp4", ".ts": ".ts"}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Small whole files, one of each container."""
    folder = tmp_path_factory.mktemp("originals")
    for name, codec in CODECS.items():
        if codec in ("png", "mjpeg", "wrapped_avframe"):
            write_still(folder / name, codec)
        else:
            write_clip(folder / name, frames=6, codec=codec, sound=name in SOUND)
    return {name: (folder / name).read_bytes() for name in CODECS}


def write_still(path: Path, codec: str) -> None:
    pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p", "wrapped_avframe": "yuv420p"}[codec]
    options = {"update": "1"} if codec != "wrapped_avframe" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, pix_fmt
        for index in range(1 if options else 3):
            container.mux(stream.encode(picture(index, (48, 32), pix_fmt)))
        container.mux(stream.encode())


def mutated(whole: bytes, chance: random.Random) -> bytes:
    """The file with some bytes flipped, overwritten, missing, repeated or inserted, mostly in its headers."""
    data = bytearray(whole)
    for _ in range(chance.choice([1, 1, 2, 4, 16, 64])):
        reach = len(data) if chance.random() < 0.5 else min(len(data), 700)
        at = chance.randrange(max(1, reach))
        length = chance.choice([1, 2, 4, 8, 40])
        kind = chance.randrange(7)
        if kind <= 1 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            data[at : at + length] = chance.randbytes(length)
        elif kind == 3:
            data[at : at + length] = bytes([chance.choice([0, 0x7F, 0x80, 0xFF])]) * length
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[max(0, at - length) : at]
        elif len(data) > 64 and chance.random() < 0.3:
            del data[chance.randrange(16, len(data)) :]
    return bytes(data)


class Runs:
    """Runs of `vqe`, each a process of its own that cannot hang."""

    def __init__(self, folder: Path, registry: dict[str, str]) -> None:
        self._errors = folder / "errors.txt"
        self._forker = Forker(self._errors, registry)

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_: object) -> None:
        self._forker.__exit__()

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Exit code (negative for a signal, -9 for a hang) and what was printed."""
        before = self._errors.stat().st_size
        process = self._forker.start(*arguments)
        ended = threading.Event()
        watch = threading.Thread(target=_end_when_hanging, args=(process, ended))
        watch.start()
        code = self._forker.wait()
        ended.set()
        watch.join()
        with self._errors.open("rb") as file:
            file.seek(before)
            return code, file.read().decode(errors="replace")


def _end_when_hanging(process: int, ended: threading.Event) -> None:
    start = time.monotonic()
    while not ended.wait(0.2):
        try:
            spent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        cpu_s = (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")
        if cpu_s > HANG_CPU_S or time.monotonic() - start > HANG_S:
            os.kill(process, signal.SIGKILL)
            return


def complaint(code: int, said: str) -> str:
    """What is wrong with how a run ended, "" where nothing is."""
    if code not in (0, 1):
        return f"exit code {code}"
    if "Traceback" in said or "something went wrong inside" in said:
        return "an error of our own"
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if code == 1 and len(errors) != 1:
        return f"{len(errors)} sentences"
    return ""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    registry = {"VQE_WEIGHTS_TOML": str(write_registry(tmp_path_factory.mktemp("weights")))}
    with Runs(folder, registry) as started:
        yield started


@pytest.mark.parametrize("name", CODECS)
def test_broken_files_are_inspected_or_refused(
    name: str, originals: dict[str, bytes], runs: Runs, tmp_path: Path
) -> None:
    found = []
    for seed in range(-(-INSPECTED // len(CODECS))):
        path = tmp_path / f"{seed}{name}"
        path.write_bytes(mutated(originals[name], random.Random(f"inspect {name} {seed}")))
        code, said = runs.run("inspect", path)
        if wrong := complaint(code, said):
            found.append((seed, wrong, said[-600:]))
        path.unlink()
    assert found == []


@pytest.mark.parametrize("name", CODECS)
def test_broken_files_are_enhanced_or_refused(
    name: str, originals: dict[str, bytes], runs: Runs, tmp_path: Path
) -> None:
    """After an error nothing lies under the final name, nor beside it."""
    found = []
    for seed in range(-(-ENHANCED // len(CODECS))):
        path = tmp_path / f"{seed}{name}"
        folder = tmp_path / f"{seed}"
        folder.mkdir()
        output = folder / f"out{SUFFIX.get(path.suffix, '.mkv')}"
        path.write_bytes(mutated(originals[name], random.Random(f"enhance {name} {seed}")))
        code, said = runs.run("enhance", path, output)
        wrong = complaint(code, said)
        left = sorted(each.name for each in folder.iterdir())
        if not wrong and left != ([output.name] if code == 0 else []):
            wrong = f"exit code {code} leaves {left}"
        if wrong:
            found.append((seed, wrong, said[-600:]))
    assert found == []
