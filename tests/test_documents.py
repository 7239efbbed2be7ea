"""The reader of texts that anybody may have written, held against the libraries that it stands on."""

import ast
import json
import random
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import DATA, ROOT

from vqe_cli.documents import DocumentError, Limits, fits, parse_json, parse_yaml, read_json, read_toml, table
from vqe_cli.errors import shortened

PLAIN = {"a": [1, -2.5, True, None, "ä"], "b": {"c": {}}, "d": 2**63 - 1}


def test_plain_data_comes_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(PLAIN))
    assert read_json(tmp_path / "a.json") == PLAIN
    assert parse_yaml(yaml.safe_dump(PLAIN, allow_unicode=True)) == PLAIN
    for path in (ROOT / "configs").rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert parse_yaml(text, aliases=True) == yaml.safe_load(text)
    path = ROOT / "weights.toml"
    assert read_toml(path) == tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "NaN",
        "-Infinity",
        "1e999",
        "9" * 5000,
        "9" * 20,
        "[" * 100_000,
        "[" * 40 + "]" * 40,
        '{"a":' * 100_000,
        b"\xff",
        '"' + "x" * 200_000 + '"',
        "'" * 10_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_json_that_cannot_be_used(text: str | bytes) -> None:
    refused(lambda: parse_json(text))


BOMB = (DATA / "cases" / "aliases.yaml").read_text()
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: b: c",
        "\x00",
        b"\xff\xfe\x00",
        "a: " + "9" * 5000,
        "a: 0x" + "f" * 5000,
        "a: " + "1:" * 5000 + "1",
        "a: " + "1:" * 5000 + "1.5",
        "a: " + "9" * 20,
        "[" * 20_000,
        "- " * 20_000,
        "? " * 20_000,
        "{a: " * 10_000,
        "[" + "a, " * 20_000 + "]",
        "a: " + "x" * 100_000,
        "a: 2001-13-45",
        "a: 2001-01-01",
        "a: !!python/object/apply:os.system [x]",
        "a: !!int ''",
        "a: !!bool x",
        "a: !!timestamp x",
        "a: !!binary x",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "a: *nothing",
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: &a {<<: *a}",
        "a: 1\n---\nb: 2",
        BOMB,
        MERGES,
    ],
    ids=lambda text: repr(text[:24]),
)
def test_yaml_that_cannot_be_used(text: str | bytes) -> None:
    for aliases in (False, True):
        refused(lambda: parse_yaml(text, aliases))  # noqa: B023 - called at once


def test_aliases_are_taken_only_where_they_are_wanted() -> None:
    text = "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a\n"
    assert parse_yaml(text, aliases=True)["b"] == {"x": 1, "y": 2}
    with pytest.raises(DocumentError, match="alias"):
        parse_yaml(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / "a\0b", tmp_path / ("n" * 5000)):
        refused(lambda: read_json(path))  # noqa: B023 - called at once
    with Path("/dev/zero").open("rb"):
        refused(lambda: read_json(Path("/dev/zero")))


def test_a_table_is_held_against_kinds() -> None:
    kinds = {"text": str, "count": int, "share": float, "flag": bool, "list": [[float]], "map": {str: int}}
    kinds |= {"either": (str, None)}
    good: dict[str, Any] = {
        "text": "a",
        "count": 1,
        "share": 2,
        "flag": True,
        "list": [[1, 2.5]],
        "map": {"a": 1},
    }
    assert table(good | {"either": None}, kinds, ("text", "count")) == good | {"either": None}
    for key, value in {
        "text": 1,
        "count": True,
        "share": float("nan"),
        "flag": 1,
        "list": [1],
        "map": {"a": "b"},
        "either": 1,
        "txet": "a",
    }.items():
        with pytest.raises(DocumentError, match=key):
            table({key: value}, kinds)
    with pytest.raises(DocumentError, match="lacks 'count'"):
        table({"text": "a"}, kinds, ("text", "count"))
    for value in (None, [], "a", 1):
        refused(lambda: table(value, kinds))  # noqa: B023 - called at once
    assert not fits(float("inf"), float) and not fits(True, float)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        [["y" * 1000] * 1000] * 1000,
        {n: n for n in range(10**5)},
        10**5000,
        -(10**5000),
        b"\0" * 10**6,
    ],
    ids=["text", "lists", "mapping", "digits", "negative digits", "bytes"],
)
def test_a_message_never_quotes_a_whole_value(value: object) -> None:
    assert 0 < len(shortened(value)) <= 60
    assert shortened("a\x1b[2J\n\ud800").isprintable()
    assert shortened({"a": 1}) == "{'a': 1}"


# --- chance -----------------------------------------------------------------------------------------------


def mutated(text: str, chance: random.Random) -> bytes:
    """The text with some characters changed, doubled or left out, and with what parsers stumble over."""
    found = bytearray(text.encode())
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(found) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            found[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del found[place : place + chance.randint(1, 30)]
        elif kind == 2:
            found[place:place] = found[place : place + chance.randint(1, 30)]
        else:
            found[place:place] = chance.choice(WORDS)
    return bytes(found)


WORDS = [
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"'",
    b":",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!",
    b"\n",
    b"- ",
    b"? ",
    b"|",
    b"%",
]
WORDS += [
    b"nan",
    b"inf",
    b".inf",
    b"1e999",
    b"9" * 30,
    b"null",
    b"~",
    b"\0",
    b"\xff",
    b"2001-01-01",
    b"=",
    b"#",
]
WORDS += [b"\xef\xbb\xbf", b"\\u0000", b"\\ud800", b"0x", b"1:2", b"[[x]]", b"true", b"\t"]


def taken_or_refused(read: Callable[[bytes], object], text: str, count: int) -> None:
    chance = random.Random(24)
    for _ in range(count):
        content = mutated(text, chance)
        began = time.monotonic()
        try:
            json.dumps(read(content))
        except DocumentError as error:
            assert str(error).isprintable() and len(str(error)) < 400
        assert time.monotonic() - began < 4


def test_mutated_json_is_taken_or_refused() -> None:
    taken_or_refused(parse_json, json.dumps(PLAIN), 500)


def test_mutated_yaml_is_taken_or_refused() -> None:
    text = (ROOT / "configs" / "fast.yaml").read_text(encoding="utf-8")[:1500]
    taken_or_refused(lambda content: parse_yaml(content, aliases=True), text, 150)
    taken_or_refused(parse_yaml, "model: fast\nscale: 2\nencoder-options: {crf: 12, preset: slow}\n", 400)


def test_mutated_toml_is_taken_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return read_toml(path, Limits(bytes=20_000))

    taken_or_refused(read, (ROOT / "weights.toml").read_text(encoding="utf-8")[:3000], 200)


def refused(read: Callable[[], object]) -> None:
    """A part of a sentence, soon."""
    began = time.monotonic()
    with pytest.raises(DocumentError) as caught:
        read()
    assert time.monotonic() - began < 3
    assert 0 < len(str(caught.value)) < 300 and str(caught.value).isprintable()


# --- one reader -------------------------------------------------------------------------------------------

READERS = {
    "json.load",
    "json.loads",
    "tomllib.load",
    "tomllib.loads",
    "yaml.safe_load",
    "yaml.load",
    "yaml.parse",
}
READERS |= {"torch.load", "pickle.load", "pickle.loads", "load_file", "safe_open", "safetensors.torch.load"}
MAY_READ = ("vqe_cli/documents.py", "vqe_cli/weights/tensors.py")


@pytest.mark.parametrize("path", sorted((ROOT / "vqe_cli").rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_else_reads_what_anybody_may_have_written(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() in MAY_READ:
        return
    calls = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    assert not READERS & {ast.unparse(call.func) for call in calls}
