"""The gallery made of a folder of clips."""

import subprocess
import sys
from pathlib import Path

import small_clips
from conftest import ROOT


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/gallery.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_every_clip_has_its_versions(tmp_path: Path) -> None:
    for kind in ("lq", "truth"):
        (tmp_path / kind).mkdir()
    small_clips.write(tmp_path / "truth/a.mkv", small_clips.clip(6))
    options = {"x265-params": "log-level=none:cutree=0", "crf": "38"}
    small_clips.write(tmp_path / "lq/a.mkv", small_clips.clip(6), codec="libx265", options=options)
    done = run(tmp_path, tmp_path / "page.html", "--models", "fast")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert page.count('src="data:image/png') == 3
    assert 'data-name="truth"' in page and 'data-name="fast"' in page


def test_a_folder_without_clips_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "lq").mkdir()
    done = run(tmp_path, tmp_path / "page.html")
    assert done.returncode == 1 and done.stderr.startswith("error: ")
