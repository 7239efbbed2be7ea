"""Reading files of weights that anybody may have written: safetensors, and what torch.save has written.

No code is run, and a file takes no more memory than its size warrants: what a header or a pickle says of
sizes is held against the bytes that are there before it is believed.
"""

import pickle
import pickletools
import re
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
MOST_PICKLE_BYTES = 32 * MIB
MOST_STEPS = 500_000  # of a pickle; a checkpoint of a thousand tensors with its optimizer takes 200,000
OLD_PICKLES = 5  # in a row, in files of PyTorch before 1.6; tensors follow
# What pickles of plain tensors call: rebuilding, kinds of storage, types and containers.
PLAIN_NAMES = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v2)?|parameter)"
    r"|torch (Size|device|[A-Za-z]+Storage|[a-z]+[0-9a-z_]*)|torch\.storage (Typed|Untyped)Storage"
)


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
    if zipfile.is_zipfile(file):
        _check_archive(file, size)
    else:
        file.seek(0)
        _check_names(file, OLD_PICKLES)
    file.seek(0)
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
    """TensorError for an archive whose members would be larger than itself, or whose pickle is not plain."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            inside = sum(member.file_size for member in members)
            if inside > size + SLACK:
                raise TensorError(f"its {size} bytes would become {inside}")
            for member in members:
                if member.filename.endswith(".pkl"):
                    with archive.open(member) as pickled:
                        _check_names(pickled, 1)
    except TensorError:
        raise
    except Exception as error:  # what a damaged archive raises has no common kind
        raise TensorError(reason(error)) from error


def _check_names(file: IO[bytes], pickles: int) -> None:
    """TensorError where one of so many pickles in a row calls anything but what plain tensors are made by.

    What PyTorch takes beyond that makes objects of any size from a few bytes (`bytearray`, `Tensor`).
    """
    content = file.read(MOST_PICKLE_BYTES)
    place, done = 0, 0
    for _ in range(pickles):
        try:
            for code, argument, position in pickletools.genops(content[place:]):
                if code.name in ("GLOBAL", "INST") and not PLAIN_NAMES.fullmatch(str(argument)):
                    raise TensorError(f"it holds objects that vqe does not run: {shortened(argument)}")
                if code.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
                    raise TensorError("it is of a pickle protocol that is not used for weights")
                end, done = position or 0, done + 1
                if done > MOST_STEPS:
                    raise TensorError(f"it takes more than {MOST_STEPS} steps to read")
        except TensorError:
            raise
        except Exception as error:  # of a damaged pickle
            raise TensorError(f"it is damaged, or no checkpoint: {reason(error)}") from error
        place += end + 1


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
