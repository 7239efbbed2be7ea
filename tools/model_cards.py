#!/usr/bin/env python3
"""Write models/README.md from weights.toml and the headers of the weights: python tools/model_cards.py"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vqe_cli.files import sha256_of  # noqa: E402
from vqe_cli.weights.load import read_header  # noqa: E402
from vqe_cli.weights.registry import Pipeline, load_pipelines  # noqa: E402

PAGE = ROOT / "models/README.md"
HEAD = """# Weights that come with vqe

Made by `python tools/model_cards.py` from the headers of the files and from
[weights.toml](../weights.toml). Gains are RGB-PSNR over the compressed input, mean over clips that
were in no training ([docs/results.md](../docs/results.md)).
"""


def page() -> str:
    """The whole page: a card for each file."""
    pipelines = load_pipelines(ROOT / "weights.toml").pipelines
    files = sorted((ROOT / "models").glob("*.safetensors"))
    return "\n".join([HEAD, *(card(path, pipelines) for path in files)])


def card(path: Path, pipelines: tuple[Pipeline, ...]) -> str:
    """What a file is, was trained on and gains."""
    header = read_header(path)
    training = header.card
    lines = [
        f"## {path.name}\n",
        "| | |",
        "|---|---|",
        f"| network | `{header.arch}` {settings(header.config)} |",
        f"| size | {path.stat().st_size / 1e6:.1f} MB |",
        f"| sha256 | `{sha256_of(path)}` |",
    ]
    users = [f"`{each.name}` x{each.scale}" for each in pipelines if uses(each, path)]
    lines.append(f"| used by | {', '.join(users) or 'training (`network.flow`)'} |")
    phases = [*training.get("phases_before", []), training]
    minutes = [phase.get("minutes", 0) for phase in phases]
    if any(minutes):
        lines.append(f"| trained | {sum(minutes):.0f} minutes in {len(minutes)} phases |")
    if training.get("footage"):
        lines.append(f"| footage | {training['footage']} |")
    for pipeline in pipelines:
        if uses(pipeline, path) and pipeline.measured:
            gains = "; ".join(
                f"{each.on} {each.gain_db:+.2f} dB (worst clip {each.worst_db:+.2f})"
                for each in pipeline.measured
            )
            lines.append(f"| gain of `{pipeline.name}` x{pipeline.scale} | {gains} |")
    return "\n".join([*lines, ""])


def uses(pipeline: Pipeline, path: Path) -> bool:
    """Whether a pipeline has the file among its stages."""
    return any(stage.file == path.name for stage in pipeline.stages)


def settings(config: dict[str, Any]) -> str:
    """A network's settings on one line."""
    return ", ".join(f"{key} {value}" for key, value in config.items())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
