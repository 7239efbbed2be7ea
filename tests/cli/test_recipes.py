"""Every command of docs/recipes.md, run as written on tiny clips."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import small_clips
from command import START, process_env, vqe
from conftest import ROOT

PAGE = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
LINES = re.findall(r"^    (.*)$", PAGE, re.MULTILINE)
COMMANDS = [line for line in LINES if line.startswith("vqe ") and "$" not in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the page names as input."""
    place = tmp_path_factory.mktemp("recipes")
    frames = small_clips.clip(8)
    for name in ("camera", "library/Film (2001)", "videos"):
        (place / name).mkdir(parents=True)
    for name in ("phone.mp4", "screen.mp4", "anime.mkv", "library/Film (2001)/Film (2001).mkv"):
        small_clips.write(place / name, frames, codec="libx264", options={"crf": "35"})
    for name in ("pal.mkv", "ntsc_film.mkv", "camera/00001.ts"):
        small_clips.write_interlaced(place / name, 10)
    deep = [tuple(plane.astype("uint16") * 4 for plane in planes) for planes in frames]
    quiet = {"x265-params": "log-level=none:cutree=0", "crf": "35"}
    small_clips.write(place / "uhd.mkv", deep, "yuv420p10le", 9, "libx265", quiet)
    for number in range(4):
        small_clips.write(place / "videos" / f"{number}.mkv", frames[:1])
    return place


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 10
    others = [line for line in LINES if line not in COMMANDS]
    assert len(others) == 5, "lines that neither this list of commands nor the Slurm test runs"


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_does_what_it_says(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    words = shlex.split(line)
    done = vqe(*words[1:])
    assert done.code == 0, done.stderr
    if "--dry-run" not in words:
        written = Path(words[words.index("-o") + 1] if "-o" in words else words[3])
        assert [path for path in (written, *written.rglob("*.mkv")) if path.is_file()]


def test_the_slurm_array(folder: Path, tmp_path: Path) -> None:
    """By a shell, as one of the four tasks."""
    if os.name != "posix":
        pytest.skip("needs a shell")
    begin = LINES.index("#SBATCH --array=0-3 --gres=gpu:1")
    (tmp_path / "vqe").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{START}" "$@"\n')
    (tmp_path / "vqe").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    env = process_env({"PATH": path, "SLURM_ARRAY_TASK_ID": "1", "PYTHONPATH": str(ROOT)})
    script = "\n".join(LINES[begin : begin + 4])
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (folder / "better").glob("*.mkv")] == ["0.mkv"]
