"""Files in parts below a size, for machines that only let small files out, and their reassembly.

`NAME` becomes `NAME.TAG.000`, `NAME.TAG.001` … and an index `NAME.parts.json`, written last:
`{"bytes": total, "parts": [{"file", "bytes", "sha256"}, ...]}`. TAG is from the content, so that the parts of
the version before stay whole until the new index has taken its place.
"""

import hashlib
import io
from pathlib import Path
from typing import IO, Any

from vqe_cli.documents import DocumentError, json_text, read_json, table
from vqe_cli.errors import VqeError, shortened
from vqe_cli.files import Aside, sha256_of

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


def drop(path: Path) -> None:
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
