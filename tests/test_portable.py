"""Windows and macOS: every module can be imported without what only POSIX or Linux has."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

POSIX_ONLY = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")
# What `os` and `signal` lack elsewhere; asked for by hasattr or getattr it does no harm.
LINUX_ONLY = {
    "sched_getaffinity",
    "sched_setaffinity",
    "geteuid",
    "getuid",
    "fork",
    "killpg",
    "mkfifo",
    "statvfs",
}
LINUX_ONLY |= {"SIGHUP", "SIGKILL", "SIGALRM", "setpgid", "getpgid", "uname"}
FILES = sorted((ROOT / "vqe_cli").rglob("*.py"))


def test_every_module_can_be_imported() -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES]
    code = f"""
import importlib, sys
for name in {POSIX_ONLY!r}:
    sys.modules[name] = None
for name in {[name.removesuffix(".__init__") for name in names]!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def guarded(path: Path) -> set[int]:
    """Lines within a condition or a helper that asks whether the system has something."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If | ast.IfExp | ast.BoolOp):
            source = ast.unparse(node.test if isinstance(node, ast.If | ast.IfExp) else node)
            if "hasattr" in source or "sys.platform" in source or "os.name" in source:
                lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_only_linux_has_is_asked_for(path: Path) -> None:
    tree, allowed = ast.parse(path.read_text(encoding="utf-8")), guarded(path)
    used = [
        f"{path}:{node.lineno} {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in LINUX_ONLY
        and isinstance(node.value, ast.Name)
        and node.value.id in ("os", "signal")
        and node.lineno not in allowed
    ]
    assert used == []
