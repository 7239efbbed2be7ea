#!/usr/bin/env python3
"""Train on a machine that is there for half an hour and is reached by small copies.

    python tools/gpu_train.py pack FOLDER --out parts        here: archives below 55 MiB each
    python tools/gpu_train.py unpack part-*.tar --data D     there, once for each copy that arrives
    python tools/gpu_train.py versions --data D --recipes qp37,rate-60k    there: every core compresses
    python tools/gpu_train.py learn --config fast --data D --out RUN --minutes 9 [--from EARLIER] [--set ...]

FOLDER holds `train/raw/` (clean clips), `photographs/` (from which clips are made over there: they carry
farthest), and `val/` as in a data folder (a few clips with their versions). `learn` runs `vqe train-stage`
for so many minutes and stops it with a checkpoint in parts below 15 MiB; the next `learn` goes on from the
folder that it is given with --from. `--total` minutes are what the schedule is annealed over.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vqe_cli.machine import usable_cores  # noqa: E402

MIB = 2**20
PART_MIB = 55  # with the repository and the wheels below the 64 MiB that a small copy may have
CHECKPOINT_MIB = 15
STOPPED = 130  # what vqe exits with after it was asked to stop and has written its checkpoint
PHOTOGRAPHS = "photographs"


def vqe(*arguments: object) -> subprocess.Popen[bytes]:
    """`vqe` from this repository, with the interpreter at hand, started."""
    code = "import sys; from vqe_cli.cli.main import run; sys.argv[0] = 'vqe'; run()"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait; ends this program when that one failed, which has said why."""
    code = process.wait()
    if code:
        raise SystemExit(code)


def pack(folder: Path, out: Path, limit_mib: float) -> list[Path]:
    """Archives of the files below a folder, each below the limit; the largest files go first."""
    files = sorted((f for f in folder.rglob("*") if f.is_file()), key=lambda f: (-f.stat().st_size, f))
    parts: list[tuple[float, list[Path]]] = []
    for file in files:
        # A header, the name, and what fills up to whole blocks.
        size = (file.stat().st_size + 2048) / MIB
        if size > limit_mib - 1:
            raise SystemExit(f"{file} is larger than a part. Cut it, or leave it out.")
        for index, (filled, members) in enumerate(parts):
            if filled + size <= limit_mib - 1:
                parts[index] = filled + size, [*members, file]
                break
        else:
            parts.append((size, [file]))
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (_, members) in enumerate(parts, start=1):
        written.append(out / f"part-{number}.tar")
        with tarfile.open(written[-1], "w") as archive:
            for file in members:
                archive.add(file.resolve(), str(file.relative_to(folder)))
    return written


def unpack(parts: Sequence[Path], data: Path) -> None:
    """The files of archives below a data folder."""
    data.mkdir(parents=True, exist_ok=True)
    for part in parts:
        with tarfile.open(part) as archive:
            archive.extractall(data, filter="data")


def versions(data: Path, recipes: Sequence[str], frames: int) -> None:
    """Clips of the photographs and versions of the training clips, as far as they are not there yet."""
    raw = data / "train" / "raw"
    pictures = sorted((data / PHOTOGRAPHS).rglob("*.[jJ]*[gG]"))
    fresh = [picture for picture in pictures if not (raw / f"{picture.stem}.mkv").exists()]
    compress(fresh, raw, ["--photographs", "--recipe", "lossless", "--frames", frames])
    clips = sorted(raw.glob("*.mkv"))
    for recipe in recipes:
        folder = data / "train" / "lq" / recipe
        compress([c for c in clips if not (folder / c.name).exists()], folder, ["--recipe", recipe])


def compress(files: Sequence[Path], out: Path, options: Sequence[object]) -> None:
    """`vqe compress`, one process a core."""
    cores = min(len(files), usable_cores())
    shares = [files[core::cores] for core in range(cores)]
    with ThreadPoolExecutor(max(1, cores)) as pool:
        for _ in pool.map(lambda share: finish(vqe("compress", *share, "--out", out, *options)), shares):
            pass


def learn(arguments: argparse.Namespace) -> None:
    """`vqe train-stage` for some minutes, from the beginning or from an earlier piece's folder."""
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    options = ["--config", arguments.config, "--data", arguments.data, "--out", out]
    options += ["--shard-mib", CHECKPOINT_MIB, "--max-minutes", arguments.total]
    for change in arguments.set:
        options += ["--set", change]
    if arguments.earlier is not None:
        shutil.copytree(arguments.earlier, out, dirs_exist_ok=True)
        options.append("--resume")
    process = vqe("train-stage", arguments.stage, *options)
    stop = threading.Timer(60 * arguments.minutes, process.send_signal, [signal.SIGTERM])
    stop.start()
    code = process.wait()
    stop.cancel()
    if code not in (0, STOPPED):
        raise SystemExit(code)


def main() -> None:
    """One of the four steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("pack")
    step.add_argument("folder", type=Path)
    step.add_argument("--out", type=Path, required=True)
    step.add_argument("--mib", type=float, default=PART_MIB)
    step = steps.add_parser("unpack")
    step.add_argument("parts", type=Path, nargs="+")
    step.add_argument("--data", type=Path, required=True)
    step = steps.add_parser("versions")
    step.add_argument("--data", type=Path, required=True)
    step.add_argument("--recipes", required=True, help="separated by commas")
    step.add_argument("--frames", type=int, default=4, help="of a photograph's clip")
    step = steps.add_parser("learn")
    step.add_argument("--stage", default="1")
    step.add_argument("--config", required=True)
    step.add_argument("--data", type=Path, required=True)
    step.add_argument("--out", type=Path, required=True)
    step.add_argument("--from", dest="earlier", type=Path, help="an earlier piece's folder")
    step.add_argument("--minutes", type=float, default=9.0, help="of this piece")
    step.add_argument("--total", type=float, default=27.0, help="of all pieces")
    step.add_argument("--set", action="append", default=[], help="as of train-stage")
    given = parser.parse_args()
    if given.step == "pack":
        for part in pack(given.folder, given.out, given.mib):
            print(f"{part}  {part.stat().st_size / MIB:.1f} MiB")
    elif given.step == "unpack":
        unpack(given.parts, given.data)
    elif given.step == "versions":
        versions(given.data, given.recipes.split(","), given.frames)
    else:
        learn(given)


if __name__ == "__main__":
    main()
