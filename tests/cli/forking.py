"""A process that has loaded everything and forks for each run of `vqe`, so that runs start at once.

It reads a JSON list of arguments a line, starts the command in a child, and answers with the child's number;
the empty list waits for the child and is answered with its exit code.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from command import process_env


class Forker:
    """`with Forker(folder, env) as forker: number = forker.start(...); code = forker.wait()`."""

    def __init__(self, errors: Path, env: dict[str, str]) -> None:
        self._errors = errors.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**process_env(env), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def start(self, *arguments: str | Path) -> int:
        """Starts `vqe` with these arguments; its process number."""
        return self._ask([str(argument) for argument in arguments])

    def wait(self) -> int:
        """Waits for it; its exit code, negative for a signal."""
        return self._ask([])

    def _ask(self, words: list[str]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()


def serve() -> None:
    """The life of that process."""
    import vqe_cli.cli.display
    import vqe_cli.runs.run  # noqa: F401
    from vqe_cli.cli.main import run

    child = 0
    for line in sys.stdin:
        words = json.loads(line)
        if words:
            child = os.fork()
            if child == 0:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(2, 1)
                sys.argv = ["vqe", *words]
                run()
            print(child, flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
