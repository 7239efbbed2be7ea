"""A tree of YAML to frozen dataclasses, collecting every problem instead of stopping at the first."""

import dataclasses
import types
from typing import Any, get_args, get_origin, get_type_hints

from vqe_cli.documents import DocumentError, parse_yaml
from vqe_cli.errors import nearest, shortened

LONGEST_SHOWN = 60  # characters of an option or a key in a message


def apply_overrides(tree: dict[str, Any], overrides: list[str], problems: list[str]) -> None:
    """Put each `section.key=value` (value in YAML) into the tree; what cannot be goes to `problems`."""
    for override in overrides:
        shown = override if len(override) <= LONGEST_SHOWN else f"{override[:LONGEST_SHOWN]}…"
        key, sign, text = override.partition("=")
        if not sign:
            problems.append(f"--set {shown} has no '='")
            continue
        try:
            value = parse_yaml(text)
        except DocumentError as error:
            problems.append(f"--set {shown}: {shortened(text)} is not a value ({error})")
            continue
        _put(tree, key.strip().split("."), value, shown, problems)


def _put(tree: dict[str, Any], path: list[str], value: Any, override: str, problems: list[str]) -> None:
    """Set one leaf, copying the sections on the way, which phases share."""
    node = tree
    for section in path[:-1]:
        below = node.get(section, {})
        if not isinstance(below, dict):
            problems.append(f"--set {override}: {section} is not a section")
            return
        node[section] = dict(below)
        node = node[section]
    node[path[-1]] = value


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the sections of `changes` laid over it.

    Keys of `network.config` are merged too, unless the architecture changes; all other values are replaced.
    """
    result = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        if not (isinstance(old, dict) and isinstance(value, dict)):
            result[key] = value
            continue
        result[key] = {**old, **value}
        if key == "network" and "arch" not in value and isinstance(value.get("config"), dict):
            result[key]["config"] = {**(old.get("config") or {}), **value["config"]}
    return result


def parse(cls: type, tree: Any, where: str, problems: list[str]) -> Any:
    """Build dataclass `cls` from a mapping.

    Problems are appended; what is wrong counts as left out, so that the rest can be judged too. None where a
    required value is wrong or missing.
    """
    if not isinstance(tree, dict):
        problems.append(f"{where.rstrip('.') or 'the file'} must be a mapping")
        return None
    hints = get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name, before = f"{where}{key}"[:LONGEST_SHOWN], len(problems)
        if key not in known:
            near = nearest(str(key), known, 0.6)
            problems.append(f"unknown key {name}" + (f" (did you mean {near}?)" if near else ""))
        elif dataclasses.is_dataclass(hints[key]):
            values[key] = parse(hints[key], value, f"{name}.", problems) or hints[key]()  # type: ignore[arg-type]
        else:
            converted = convert(hints[key], value, name, problems)
            if len(problems) == before:
                values[key] = converted
    missing = [name for name, f in known.items() if name not in values and _required(f)]
    problems += [f"{where}{name} is missing" for name in missing if name not in tree]
    return None if missing else cls(**values)


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def convert(hint: Any, value: Any, name: str, problems: list[str]) -> Any:
    """Value as the annotated type; YAML reads 1e-4 as text, which counts as a number here."""
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    origin = get_origin(kind) or kind
    if origin is tuple:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(
            convert(get_args(kind)[0], item, f"{name}[{i}]", problems) for i, item in enumerate(values)
        )
    if origin is dict and isinstance(value, dict):
        of = get_args(kind)[1]
        return {
            str(k): v if of is Any else convert(of, v, f"{name}.{k}"[:LONGEST_SHOWN], problems)
            for k, v in value.items()
        }
    try:
        if origin is bool and isinstance(value, bool):
            return value
        if origin is float and not isinstance(value, bool):
            return float(value)
        if origin is int and not isinstance(value, bool) and int(value) == float(value):
            return int(value)
        if origin is str and isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
    except (TypeError, ValueError, OverflowError):
        pass
    problems.append(f"{name} must be {KIND_NAMES.get(origin, origin)}, not {shortened(value)}")
    return None


KIND_NAMES: dict[Any, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "text",
    dict: "a mapping",
}
