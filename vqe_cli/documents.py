"""Reading TOML, JSON, JSON lines and YAML that anybody may have written: plain data, within limits; JSON that
anybody can read.

What comes from such a text is bounded before it is built: bytes, depth, values (those that an alias repeats
count each time), digits. What is given back holds only None, bool, int of 64 bits, float (of YAML also NaN
and infinity), str, list and dict. `table` then holds a mapping against the kinds that are expected of it.

What is wrong is a `DocumentError`, whose text is a part of a sentence without the file's name and quotes no
more than some 60 characters of a value; callers make a `VqeError` of it.
"""

import json
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from vqe_cli.errors import did_you_mean, shortened

KIB, MIB = 1 << 10, 1 << 20
GREATEST = 2**63 - 1
LONGEST_LINE = 2000  # of TOML: the time for a dotted key grows with the square of its length
MOST_YAML_VALUES = 10_000


@dataclass(frozen=True)
class Limits:
    """What a text may take. bytes: its size; depth: of lists and mappings in each other."""

    bytes: int = 128 * KIB
    depth: int = 32


# For files that people write; YAML takes the longest to read.
DEFAULT = Limits()
YAML = Limits(bytes=64 * KIB)


class DocumentError(ValueError):
    """Why a text cannot be used: "not UTF-8 text", "scale is a whole number, not 'x'"."""


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file of at most so many bytes; DocumentError where it is larger or cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise DocumentError(getattr(error, "strerror", None) or str(error)) from error
    if len(content) > most:
        raise DocumentError(f"larger than {_size(most)}")
    return content


def read_toml(path: Path, limits: Limits = DEFAULT) -> dict[str, Any]:
    """The tables of a TOML file; DocumentError where it cannot be used."""
    text = _decoded(read_bytes(path, limits.bytes))
    if any(len(line) > LONGEST_LINE for line in text.splitlines()):
        raise DocumentError(f"a line of it is longer than {LONGEST_LINE} characters")
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        _too_deep(limits)
    except ValueError as error:
        raise DocumentError(f"not valid TOML: {_reason(error)}") from error
    return _bounded(tree, limits)  # type: ignore[no-any-return]


def read_json(path: Path, limits: Limits = DEFAULT) -> Any:
    """What a JSON file holds; DocumentError where it cannot be used."""
    return parse_json(read_bytes(path, limits.bytes), limits)


def parse_json(text: str | bytes, limits: Limits = DEFAULT) -> Any:
    """What a JSON text (UTF-8) holds; DocumentError where it cannot be used."""
    if len(text) > limits.bytes:
        raise DocumentError(f"larger than {_size(limits.bytes)}")
    try:
        tree = json.loads(_decoded(text), parse_constant=_not_finite)
    except RecursionError:
        _too_deep(limits)
    except DocumentError:
        raise
    except ValueError as error:
        raise DocumentError(f"not valid JSON: {_reason(error)}") from error
    return _bounded(tree, limits)


def read_yaml(path: Path, aliases: bool = False, limits: Limits = YAML) -> Any:
    """What a YAML file holds; DocumentError as `parse_yaml`, and where it cannot be read."""
    return parse_yaml(read_bytes(path, limits.bytes), aliases, limits)


def parse_yaml(text: str | bytes, aliases: bool = False, limits: Limits = YAML) -> Any:
    """What a YAML text (UTF-8) holds, None for an empty one.

    aliases: whether `*name` and `<<: *name` may stand in it; what they repeat counts each time. Tags are not
    taken; NaN and infinity are. DocumentError where it cannot be used.
    """
    import yaml  # when it is needed, as it takes a while

    if len(text) > limits.bytes:
        raise DocumentError(f"larger than {_size(limits.bytes)}")
    try:
        text = _decoded(text)
        _count_values(text, aliases, limits)
        tree = yaml.safe_load(text)
    except RecursionError:
        _too_deep(limits)
    except DocumentError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise DocumentError(f"not valid YAML: {_reason(error)}") from error
    return _bounded(tree, limits, finite=False)


def _count_values(text: str, aliases: bool, limits: Limits) -> None:
    """DocumentError for a YAML text that is too deep, repeats too much or has tags; builds nothing."""
    import yaml

    total = 0
    sizes: dict[str, int] = {}  # of what anchors name
    opened: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise DocumentError(f"it has a tag ({shortened(tag)}), which is not taken here")
        if isinstance(event, yaml.AliasEvent):
            if not aliases:
                raise DocumentError(f"it has an alias (*{shortened(event.anchor)}), which is not taken here")
            if event.anchor not in sizes:
                raise DocumentError(f"the alias *{shortened(event.anchor)} stands for nothing before it")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if len(opened) > limits.depth:
            _too_deep(limits)
        if total > MOST_YAML_VALUES:
            raise DocumentError(f"it has more than {MOST_YAML_VALUES} values, with those of its aliases")


def table(
    value: Any, kinds: Mapping[str, Any], needed: Collection[str] = (), name: str = "it"
) -> dict[str, Any]:
    """`value`, a mapping whose keys are those of `kinds` and whose values are of these kinds.

    A kind is a type (str, int, float for any finite number, bool, list, dict), None, a tuple of alternatives,
    [kind] for a list of such, {str: kind} for a mapping to such. needed: keys that may not be missing. name:
    what the mapping is called. DocumentError says which entry is wrong.
    """
    if not isinstance(value, dict):
        raise DocumentError(f"{name} is a table, not {shortened(value)}")
    for key, entry in value.items():
        if key not in kinds:
            raise DocumentError(f"{shortened(key)} is unknown ({did_you_mean(str(key), kinds).rstrip('.')})")
        expect(entry, kinds[key], key)
    for key in needed:
        if key not in value:
            raise DocumentError(f"{'' if name == 'it' else name + ' '}lacks {key!r}")
    return value


def expect(value: Any, kind: Any, name: str) -> None:
    """DocumentError unless `value` is of the kind (as in `table`); name: what it is called."""
    if not fits(value, kind):
        raise DocumentError(f"{name} is {_called(kind)}, not {shortened(value)}")


def json_text(tree: Any, indent: int | None = None) -> str:
    """The tree as JSON, in ASCII, which every encoding bears, names in any bytes included. What JSON has no
    number for (NaN, infinity) is null.
    """
    try:
        return json.dumps(tree, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(tree), indent=indent, allow_nan=False)


def plain(tree: Any) -> Any:
    """The tree as it comes back from JSON."""
    return json.loads(json_text(tree))


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of the kind, as in `table`."""
    if isinstance(kind, tuple):
        return any(fits(value, each) for each in kind)
    if isinstance(kind, list):
        return isinstance(value, list) and all(fits(each, kind[0]) for each in value)
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(fits(each, kind[str]) for each in value.values())
    if kind is None:
        return value is None
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def _called(kind: Any) -> str:
    if isinstance(kind, tuple):
        return " or ".join(_called(each) for each in kind)
    if isinstance(kind, list):
        return f"a list (each: {_called(kind[0])})"
    if isinstance(kind, dict):
        return f"a table (each: {_called(kind[str])})"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
    return "nothing" if kind is None else names.get(kind, "a table")


def _decoded(text: str | bytes) -> str:
    """As text, without the mark that some editors put in front."""
    try:
        return text if isinstance(text, str) else text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8 text (byte {error.start})") from error


def _bounded(tree: Any, limits: Limits, finite: bool = True) -> Any:
    """The tree itself; DocumentError where it holds what is not plain, too long or too deep.

    finite: whether numbers must be.
    """
    below: list[tuple[Any, int]] = [(tree, 0)]
    while below:
        value, depth = below.pop()
        kind = type(value)
        if kind is str or kind is bool or value is None:
            continue
        if kind is int:
            if not -GREATEST <= value <= GREATEST:
                raise DocumentError(f"it has a number of {_digits(value)} digits, more than can be used")
        elif kind is float:
            if finite and not math.isfinite(value):
                _not_finite(str(value))
        elif kind is dict or kind is list:
            if depth >= limits.depth:
                _too_deep(limits)
            below += [(each, depth + 1) for each in value]
            if kind is dict:
                below += [(each, depth + 1) for each in value.values()]
        else:
            raise DocumentError(f"it has a {kind.__name__}, {shortened(value)}: put it in quotes")
    return tree


def _digits(value: int) -> int:
    return int(value.bit_length() * math.log10(2)) + 1


def _not_finite(word: str) -> NoReturn:
    raise DocumentError(f"it has a number that is NaN or infinity ({shortened(word)})")


def _too_deep(limits: Limits) -> NoReturn:
    raise DocumentError(f"it is nested more than {limits.depth} deep")


def _reason(error: Exception) -> str:
    """What a parser says, on one line and not at length."""
    problem = getattr(error, "problem", None)  # of YAML
    if problem:
        mark = getattr(error, "problem_mark", None)
        return _plain(problem) + (f" (line {mark.line + 1}, column {mark.column + 1})" if mark else "")
    if isinstance(error, json.JSONDecodeError):
        return f"{_plain(error.msg)} (line {error.lineno}, column {error.colno})"
    return _plain(str(error))


def _plain(text: str) -> str:
    text = " ".join(text.split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 160 else f"{text[:159]}…"


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // KIB} KiB"
