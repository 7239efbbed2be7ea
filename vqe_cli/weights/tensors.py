"""Reading files of weights that anybody may have written: safetensors, and what torch.save has written.

No code is run, and a file takes no more memory than its size warrants: what a header or a pickle says of
sizes is held against the bytes that are there before it is believed.
"""

import pickle
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from vqe_cli.errors import shortened
from vqe_cli.files import unicode_name

MIB = 1 << 20
MOST_HEADER_BYTES = 8 * MIB
# Tensors may share what is stored, as tied weights do.
MOST_EXPANSION = 4
SLACK = MIB
LONGEST_REASON = 120


class TensorError(ValueError):
    """Why a file of weights cannot be used: a part of a sentence without its name."""


def read_tensor_file(path: Path) -> Any:
    """The content of a file of weights; of safetensors the tensors by name.

    Raises TensorError where it cannot be used, OSError where it cannot be read.
    """
    with path.open("rb") as file:
        return parse_safetensors(file) if path.suffix == ".safetensors" else parse_torch(file)


def parse_safetensors(file: IO[bytes]) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; TensorError where it is none."""
    _check_header(file)
    try:
        return load(file.read())
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise TensorError(f"not a safetensors file: {reason(error)}") from error


def parse_torch(file: IO[bytes]) -> Any:
    """What torch.save has written, tensors and plain values only; TensorError where it is anything else."""
    size = _size(file)
    _check_archive(file, size)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TensorError("it is damaged, or holds objects that vqe does not run") from error
    except Exception as error:  # what a damaged pickle raises has no common kind
        raise TensorError(reason(error)) from error
    _check_tensors(found, size)
    return found


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in a safetensors file by name, which its size proves; TensorError as above."""
    with path.open("rb") as file:
        _check_header(file)
    try:
        with unicode_name(path) as name, safe_open(name, framework="numpy") as opened:
            return {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TensorError(f"not a safetensors file: {reason(error)}") from error


def metadata_of(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file; TensorError as above."""
    with path.open("rb") as file:
        _check_header(file)
    try:
        with unicode_name(path) as name, safe_open(name, framework="numpy") as opened:
            return opened.metadata() or {}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TensorError(f"not a safetensors file: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What a library says of a file, on one line and not at length."""
    text = str(error) or type(error).__name__
    return shortened(text.splitlines()[0], LONGEST_REASON).strip("'\"")


def _check_header(file: IO[bytes]) -> None:
    """TensorError where the header is longer than the file or than any that is meant."""
    size = _size(file)
    length = int.from_bytes(file.read(8), "little")
    file.seek(0)
    if not 2 <= length <= size - 8:
        raise TensorError("not a safetensors file: its header is longer than the file")
    if length > MOST_HEADER_BYTES:
        raise TensorError(f"its header is longer than {MOST_HEADER_BYTES // MIB} MiB")


def _check_archive(file: IO[bytes], size: int) -> None:
    """TensorError for an archive whose members would be larger than itself."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                inside = sum(member.file_size for member in archive.infolist())
            if inside > size + SLACK:
                raise TensorError(f"its {size} bytes would become {inside}")
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        if isinstance(error, TensorError):
            raise
        raise TensorError(reason(error)) from error
    finally:
        file.seek(0)


def _check_tensors(tree: Any, size: int) -> None:
    """TensorError where tensors in the tree are not plain, or stand for more than is stored."""
    total, below, known = 0, [tree], set()
    while below:
        value = below.pop()
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise TensorError("it has tensors that are not plain ones")
            total += prod(value.shape) * value.element_size()
            if total > MOST_EXPANSION * size + SLACK:
                raise TensorError(f"its {size} bytes would become more than {MOST_EXPANSION} times as many")
        elif isinstance(value, Mapping | list | tuple | set) and id(value) not in known:
            known.add(id(value))
            below += value.values() if isinstance(value, Mapping) else value


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size
