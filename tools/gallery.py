#!/usr/bin/env python3
"""A page of before and after, made of sample clips: the input, what pipelines make of it, and the truth.

python tools/gallery.py samples gallery.html --models fast,balanced
"""

import argparse
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vqe_cli.cli.console import say  # noqa: E402
from vqe_cli.errors import VqeError  # noqa: E402
from vqe_cli.files import write_text  # noqa: E402
from vqe_cli.measure.slider import SCRIPT, STYLE, choices, slider  # noqa: E402
from vqe_cli.runs.preview import preview, shown_pixels  # noqa: E402
from vqe_cli.runs.preview_page import PAGE_STYLE  # noqa: E402
from vqe_cli.runs.settings import Settings  # noqa: E402
from vqe_cli.video.moments import frames_around, worst_moments  # noqa: E402
from vqe_cli.video.probe import probe  # noqa: E402
from vqe_cli.video.sources import open_reader  # noqa: E402


def figure(lq: Path, truth: Path, models: Sequence[str]) -> str:
    """A clip's most compressed moment on sliders; raises VqeError as `preview` does."""
    [moment] = preview(Settings(lq, lq), models, worst_moments(lq, probe(lq), 1)).moments
    near = frames_around(truth, moment.seconds, 0)
    with open_reader(truth) as reader:
        pictures = {**moment.after, "truth": shown_pixels(near.frames[near.at].planes, reader.info)}
    title = f"<h2>{escape(lq.stem)}</h2>"
    note = f'<p class="note">frame at {moment.seconds:g} s, QP {moment.qp:g}</p>' if moment.qp else ""
    buttons = choices({name: name for name in pictures})
    return f"{title}\n{slider('input', moment.before, pictures, lq.stem)}\n{buttons}{note}"


def page(folder: Path, models: Sequence[str]) -> str:
    """All clips of `folder`/lq that have a truth of the same name; raises VqeError where there are none."""
    clips = [path for path in sorted((folder / "lq").iterdir()) if (folder / "truth" / path.name).is_file()]
    if not clips:
        raise VqeError(f"{folder} has no clips in lq/ and truth/.", "Name a folder such as samples.")
    figures = []
    for clip in clips:
        say(clip.name)
        figures.append(figure(clip, folder / "truth" / clip.name, models))
    body = "\n".join(figures)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><title>vqe: gallery</title>\n'
        f"<style>{PAGE_STYLE}{STYLE}</style></head>\n<body><h1>Before and after</h1>\n"
        '<p class="note">Left of the divider the compressed clip, right of it what is chosen below.</p>\n'
        f"{body}\n<script>{SCRIPT}</script></body></html>\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--models", default="fast,balanced")
    chosen = parser.parse_args()
    try:
        write_text(chosen.output, page(chosen.folder, chosen.models.split(",")))
    except VqeError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
