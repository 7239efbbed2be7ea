#!/usr/bin/env python3
"""Write docs/api.md from the docstrings of what `vqe_cli` exports: python tools/api_page.py"""

import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import vqe_cli  # noqa: E402

PAGE = ROOT / "docs/api.md"
HEAD = """# The Python interface

What `import vqe_cli as vqe` gives. This page is made from the docstrings by `python tools/api_page.py`.
"""


def page() -> str:
    """The whole page."""
    functions = [name for name in vqe_cli.__all__ if inspect.isfunction(getattr(vqe_cli, name))]
    classes = [name for name in vqe_cli.__all__ if name not in functions and not name.endswith("Error")]
    errors = [name for name in vqe_cli.__all__ if name.endswith("Error")]
    parts = [HEAD, *map(entry, [*functions, *classes]), "## Errors\n"]
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
    if not called and "__call__" in vars(item):
        text.append(f"    model{signature(vars(item)['__call__'])}\n\n{inspect.getdoc(item.__call__)}\n")
    return "\n".join(text)


def signature(function: object) -> str:
    """Parameters and result as they are written, without module names."""
    found = inspect.signature(function)  # type: ignore[arg-type]
    kept = [value for key, value in found.parameters.items() if key != "self"]
    return re.sub(r"(?<![\w.])(?:\w+\.)+(?=[A-Z])", "", str(found.replace(parameters=kept)))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
