"""What a run can be resumed from (`last.pt`), and how it and finished weights are written and read.

All files are written aside and renamed, so that a full disk or a kill leaves the file before intact.

For machines that only let small files out, files may be written in parts: `NAME` becomes `NAME.TAG.000`,
`NAME.TAG.001` … and an index `NAME.parts.json`, written last: `{"bytes": total, "parts": [{"file", "bytes",
"sha256"}, ...]}`. TAG is from the content, so that the parts of the version before stay whole until the new
index has taken its place.
"""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from vqe_cli.documents import DocumentError, json_text, read_json, table
from vqe_cli.errors import VqeError, shortened
from vqe_cli.files import Aside, sha256_of
from vqe_cli.training.schema import TrainConfig
from vqe_cli.weights.load import converted_tensors
from vqe_cli.weights.public_checkpoints import BUFFERS, unwrapped
from vqe_cli.weights.tensors import TensorError, parse_safetensors, parse_torch

LAST = "last.pt"


def save_state(path: Path, state: dict[str, Any], shard_mib: int | None = None) -> None:
    """Write a checkpoint, in parts below `shard_mib` MiB when asked.

    Raises VqeError when it cannot be written; the one before is intact then.
    """
    replace_file(path, lambda aside: torch.save(state, aside), shard_mib)


def replace_file(path: Path, write: Callable[[Path], object], shard_mib: int | None) -> None:
    """Let `write` make a file beside `path` and put it there when it is complete, in parts when asked."""
    try:
        aside = Aside(path)
        try:
            write(aside.place)
            if shard_mib:
                split(aside.place, path, shard_mib)
            else:
                aside.publish()
                drop_parts(path)
        finally:
            aside.discard()
    # torch raises errors of its own for a full disk.
    except Exception as error:
        raise VqeError(
            f"cannot write {path} ({error}).",
            "Free some room and use --resume; the version before is intact.",
        ) from error


def load_state(path: Path, config: TrainConfig) -> dict[str, Any]:
    """Read a checkpoint of the same network.

    Raises VqeError when the file is missing, unreadable or of another architecture.
    """
    if not exists(path):
        raise VqeError(
            f"there is no checkpoint {path} to resume from.", "Leave out --resume to start afresh."
        )
    state = _load(path)
    try:
        found = (state["config"]["network"]["arch"], state["config"]["network"]["config"])
    except (KeyError, TypeError) as error:
        raise VqeError(
            f"{path} is not a checkpoint of a training run.", "Start afresh without --resume."
        ) from error
    wanted = (config.network.arch, config.network.config)
    if wanted != found:
        raise VqeError(
            f"{path} holds {_named(*found)}, the config asks for {_named(*wanted)}.",
            "Use the config that the run was started with, or another --out.",
        )
    return state


def _named(arch: object, config: object) -> str:
    return f"{shortened(arch)} {shortened(config)}".replace("'", "", 2)


def _load(path: Path) -> Any:
    """A torch file, tensors and plain values only."""
    try:
        with opened(path) as file:
            return parse_torch(file)
    except (TensorError, OSError) as error:
        raise VqeError(f"{path} is not a readable checkpoint ({error}).", "Name another file.") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, as float32, of safetensors, of a run's checkpoint (its averaged weights) or a public
    .pth.

    Raises VqeError when the file is missing, unreadable, or holds no tensors.
    """
    if path.suffix == ".safetensors":
        try:
            with opened(path) as file:
                tree: Any = parse_safetensors(file)
        except (TensorError, OSError) as error:
            raise VqeError(
                f"{path} is not a readable safetensors file ({error}).", "Name a file of trained weights."
            ) from error
    else:
        tree = _load(path)
    if not isinstance(tree, dict):
        tree = {}
    tensors = unwrapped(tree.get("ema", tree))
    if not tensors:
        raise VqeError(f"{path} holds no weights.", "Name a file of trained weights.")
    tensors = converted_tensors(tensors, str(path))
    return {key: value.float() for key, value in tensors.items() if not BUFFERS.search(key)}


def load_fitting(network: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """Copy every tensor whose name and shape fit; gives the names in the network that stay as they were."""
    own = network.state_dict()
    fitting = {key: value for key, value in tensors.items() if key in own and own[key].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return sorted(key for key in own if key not in fitting)


MIB = 2**20
SLACK = 4096  # a part stays below the size asked for
PART = {"file": str, "bytes": int, "sha256": str}


def index_path(path: Path) -> Path:
    """The index of a file's parts."""
    return path.with_name(path.name + ".parts.json")


def split(whole: Path, path: Path, shard_mib: int) -> None:
    """Put the content of the file `whole` where `path` would be, in parts, and leave `whole`. OSError if it
    fails."""
    tag = sha256_of(whole)[:8]
    parts: list[dict[str, Any]] = []
    try:
        with whole.open("rb") as file:
            while piece := file.read(shard_mib * MIB - SLACK):
                name = f"{path.name}.{tag}.{len(parts):03d}"
                parts.append({"file": name, "bytes": len(piece), "sha256": hashlib.sha256(piece).hexdigest()})
                with Aside(path.with_name(name)) as place:
                    place.write_bytes(piece)
        index = index_path(path)
        old = _names(index) - {part["file"] for part in parts}
        with Aside(index) as place:
            place.write_text(
                json_text({"bytes": whole.stat().st_size, "parts": parts}, indent=1), encoding="utf-8"
            )
    except OSError:
        for name in {part["file"] for part in parts} - _names(index_path(path)):
            path.with_name(name).unlink(missing_ok=True)
        raise
    for name in old:
        path.with_name(name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def drop_parts(path: Path) -> None:
    """Remove the parts of a file that is whole now."""
    index = index_path(path)
    names = _names(index)
    index.unlink(missing_ok=True)
    for name in names:
        path.with_name(name).unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Whether the file is there, whole or in parts."""
    return path.is_file() or index_path(path).is_file()


def opened(path: Path) -> IO[bytes]:
    """The content of a file, whole or in parts.

    Raises VqeError when neither is there, and when a part is missing or damaged.
    """
    if path.is_file():
        return path.open("rb")
    if not index_path(path).is_file():
        raise VqeError(f"there is no file {path}, nor its parts.", "Check the path.")
    joined = io.BytesIO()
    for part in _parts(index_path(path)):
        file = path.with_name(part["file"])
        piece = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(piece).hexdigest() != part["sha256"]:
            raise VqeError(
                f"{file}, a part of {path.name}, is {'damaged' if piece else 'missing'}.",
                "Copy it here again.",
            )
        joined.write(piece)
    joined.seek(0)
    return joined


def _names(index: Path) -> set[str]:
    """The part files that an index names."""
    if not index.is_file():
        return set()
    return {part["file"] for part in _parts(index)}


def _parts(index: Path) -> list[dict[str, Any]]:
    """What an index says of its parts, which lie beside it; VqeError where it is none."""
    try:
        parts = table(read_json(index), {"bytes": int, "parts": [dict]}, ("parts",))["parts"]
        for part in parts:
            table(part, PART, PART)
            if set("/\\:\0") & set(part["file"]) or part["file"] in ("", ".", ".."):
                raise DocumentError(f"{shortened(part['file'])} is not a file beside it")
        if len({part["file"] for part in parts}) < len(parts):
            raise DocumentError("a part is named twice")
    except DocumentError as error:
        raise VqeError(
            f"{index} does not say where the parts of a file are ({error}).", "Copy it here again."
        ) from error
    return list(parts)
