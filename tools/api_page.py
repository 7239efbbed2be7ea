#!/usr/bin/env python3
"""Write docs/api.md from the docstrings of what `vqe_cli` exports: python tools/api_page.py"""

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import vqe_cli  # noqa: E402
from vqe_cli.runs.report import Report, Seconds, Summary  # noqa: E402

PAGE = ROOT / "docs/api.md"
HEAD = """# The Python interface

What `import vqe_cli as vqe` gives. This page is made from the docstrings by `python tools/api_page.py`.
"""


def page() -> str:
    """The whole page."""
    functions = [name for name in vqe_cli.__all__ if inspect.isfunction(getattr(vqe_cli, name))]
    classes = [name for name in vqe_cli.__all__ if name not in functions and not name.endswith("Error")]
    errors = [name for name in vqe_cli.__all__ if name.endswith("Error")]
    results = [result(kind) for kind in (Report, Summary, Seconds)]
    parts = [HEAD, *map(entry, [*functions, *classes]), *results, "## Errors\n"]
    lines = [f"- `{name}`: {inspect.getdoc(getattr(vqe_cli, name)).splitlines()[0]}" for name in errors]  # type: ignore[union-attr]
    return "\n".join([*parts, *lines, ""])


def entry(name: str) -> str:
    """A heading, the signature and the docstring of one name; of a class with how it is called."""
    item = getattr(vqe_cli, name)
    called = inspect.isfunction(item)
    text = [f"## {name}\n"]
    if called:
        text.append(f"    vqe.{name}{signature(item)}\n")
    text.append(f"{inspect.getdoc(item)}\n")
    if dataclasses.is_dataclass(item):
        text.append(fields(item))
    if not called and "__call__" in vars(item):
        text.append(f"    model{signature(vars(item)['__call__'])}\n\n{inspect.getdoc(item.__call__)}\n")
    return "\n".join(text)


def result(kind: type) -> str:
    """A heading, the docstring and the fields of what a function returns and nobody has to import."""
    return f"## {kind.__name__}\n\n{inspect.getdoc(kind)}\n\n{fields(kind)}"


def fields(kind: type) -> str:
    """A line for each field of a dataclass: name, type, and the docstring under it where there is one."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    lines = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            text = f": {inspect.cleandoc(after.value.value)}" if described else ""  # type: ignore[union-attr]
            lines.append(f"- `{ast.unparse(node.target)}` (`{ast.unparse(node.annotation)}`){text}\n")
    return "".join(lines)


def signature(function: object) -> str:
    """Parameters and result as they are written, without module names."""
    found = inspect.signature(function)  # type: ignore[arg-type]
    kept = [value for key, value in found.parameters.items() if key != "self"]
    return re.sub(r"(?<![\w.])(?:\w+\.)+(?=[A-Z])", "", str(found.replace(parameters=kept)))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
