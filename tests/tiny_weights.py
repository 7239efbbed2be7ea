"""Tiny networks of random weights as files with a weights.toml, for tests of what is around networks."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import models

TINY = {"channels": 8, "blocks": 1, "unshuffle": 2}


def write_tiny(path: Path, seed: int = 1, **config: Any) -> str:
    """A small QECNN that changes its input a little; gives the file's sha256."""
    config = {**TINY, **config}
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        key: torch.randn(value.shape, generator=generator) * 0.02
        for key, value in models.build("qecnn", config).state_dict().items()
    }
    header = {"arch": "qecnn", "config": config, "card": {"name": path.stem}}
    save_file(tensors, path, metadata={"vqe": json.dumps(header)})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_registry(folder: Path) -> Path:
    """weights.toml with `tiny` (the default), `pair` (two stages) and `grow` (x2) beside their files."""
    first, second = write_tiny(folder / "tiny.safetensors"), write_tiny(folder / "second.safetensors", seed=2)
    grow = write_tiny(folder / "grow.safetensors", scale=2)
    path = folder / "weights.toml"
    path.write_text(
        f"""
default = "tiny"

[[pipeline]]
name = "tiny"
scale = 1
description = "random weights"
trained_on = "nothing"
defaults = {{ chunk = 8 }}
stages = [{{ file = "tiny.safetensors", sha256 = "{first}" }}]
measured = [{{ on = "noise", gain_db = -1.0, worst_db = -2.0 }}]

[[pipeline]]
name = "pair"
stages = [
    {{ file = "tiny.safetensors", sha256 = "{first}" }},
    {{ file = "second.safetensors", sha256 = "{second}" }},
]

[[pipeline]]
name = "grow"
scale = 2
stages = [{{ file = "grow.safetensors", sha256 = "{grow}" }}]
"""
    )
    return path
