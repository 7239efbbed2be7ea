"""The real command in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

START = "from vqe_cli.cli.main import run; run()"


def vqe(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `vqe` with these arguments; no VQE_ variable but those of `env` reaches it."""
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("VQE_")}
    surroundings |= {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100", **(env or {})}
    return subprocess.run(
        [sys.executable, "-c", START, *map(str, arguments)],
        cwd=cwd,
        env=surroundings,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a run that failed as it should: exit code 1, one line, a remedy, no traceback."""
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "something went wrong inside" not in done.stderr
    assert errors[0].endswith((".", "?")), errors[0]
    return errors[0]
