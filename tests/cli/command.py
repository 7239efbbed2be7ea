"""The command as tests run it: in this process where that is enough, in one of its own where it is not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from vqe_cli.cli.main import app

START = "from vqe_cli.cli.main import run; run()"
# The configuration folder of whoever runs the tests has no say.
SURROUNDINGS = {"NO_COLOR": "1", "COLUMNS": "100", "OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": "/nonexistent"}


class Done(NamedTuple):
    """A run that has ended."""

    code: int
    stdout: str
    stderr: str


def vqe(*arguments: str | Path, env: dict[str, str] | None = None) -> Done:
    """Run `vqe` with these arguments in this process; no VQE_ variable but those of `env` reaches it."""
    hidden: dict[str, str | None] = {key: None for key in os.environ if key.startswith("VQE_")}
    runner = CliRunner(env={**hidden, **SURROUNDINGS, **(env or {})})
    done = runner.invoke(app, [str(argument) for argument in arguments])
    return Done(done.exit_code, done.stdout, done.stderr)


def vqe_piped(
    content: bytes, *arguments: str | Path, env: dict[str, str] | None = None
) -> tuple[Done, bytes]:
    """As `vqe`, with this on standard input; also the bytes on standard output."""
    hidden: dict[str, str | None] = {key: None for key in os.environ if key.startswith("VQE_")}
    runner = CliRunner(env={**hidden, **SURROUNDINGS, **(env or {})})
    done = runner.invoke(app, [str(argument) for argument in arguments], input=content)
    return Done(done.exit_code, "", done.stderr), done.stdout_bytes


def vqe_process(*arguments: str | Path, env: dict[str, str] | None = None) -> Done:
    """The same in a process of its own."""
    started = subprocess.run(
        [sys.executable, "-c", START, *map(str, arguments)],
        env=process_env(env),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    return Done(started.returncode, started.stdout, started.stderr)


def process_env(more: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a process: this one's without VQE_ variables."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VQE_")}
    return {**kept, **SURROUNDINGS, **(more or {})}


def one_sentence(done: Done) -> str:
    """The error of a run that failed as it should: exit code 1, one line, a remedy, no traceback."""
    assert done.code == 1, (done.code, done.stderr)
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "something went wrong inside" not in done.stderr
    assert ". " in errors[0], "the remedy is missing"
    return errors[0]
