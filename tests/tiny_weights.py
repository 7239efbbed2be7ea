"""Tiny networks of random weights as files with a weights.toml, for tests of what is around networks."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vqe_cli import networks

TINY = {"channels": 8, "blocks": 1, "unshuffle": 2}


def write_tiny(path: Path, seed: int = 1, **config: Any) -> str:
    """A small QECNN that changes its input a little; gives the file's sha256."""
    config = {**TINY, **config}
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        key: torch.randn(value.shape, generator=generator) * 0.02
        for key, value in networks.build("qecnn", config).state_dict().items()
    }
    header = {"arch": "qecnn", "config": config, "card": {"name": path.stem}}
    save_file(tensors, path, metadata={"vqe": json.dumps(header)})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_recurrent(path: Path, seed: int = 4, zero: bool = False) -> Path:
    """A small MotionFusion, in which pictures travel: random where it would start at zero, unless `zero`."""
    spatial = {"channels": 8, "blocks": 2, "unshuffle": 2}
    config = {"spatial": spatial, "blocks": 1, "channels": 16}
    torch.manual_seed(seed)
    network = networks.build("motion_fusion", config)
    state = {key: value.clone().contiguous() for key, value in network.state_dict().items()}
    if not zero:
        state["blend.weight"].normal_(0, 0.001)
        state["residual.last.weight"].normal_(0, 0.01)
        state["spatial.tail.weight"].normal_(0, 0.02)
    return saved(path, state, "motion_fusion", config)


def write_aligned(path: Path) -> Path:
    """A small BasicVSR++ of random weights, with deformable alignment."""
    config = {"mid_channels": 8, "num_blocks": 1, "deform_groups": 2, "is_low_res_input": False}
    torch.manual_seed(4)
    return saved(path, networks.build("pqf_basicvsrpp", config).state_dict(), "pqf_basicvsrpp", config)


def saved(path: Path, state: dict[str, torch.Tensor], arch: str, config: dict[str, Any]) -> Path:
    """A file of weights."""
    save_file(state, path, metadata={"vqe": json.dumps({"arch": arch, "config": config, "card": {}})})
    return path


def write_zero(path: Path, **config: int) -> Path:
    """A network that changes nothing: QECNN as it is initialised."""
    config = {"channels": 4, "blocks": 1, **config}
    network = networks.build("qecnn", config)
    header = {"arch": "qecnn", "config": config, "card": {}}
    save_file(network.state_dict(), path, metadata={"vqe": json.dumps(header)})
    return path


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
