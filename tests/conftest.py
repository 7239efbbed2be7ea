"""Where the shared truth lies, and what a missing file means."""

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
SHARED = Path(os.environ.get("VQE_SHARED", ROOT.parent / "shared"))


# A shell that runs the tests in the background has them ignore Ctrl-C, which several of them press.
signal.signal(signal.SIGINT, signal.default_int_handler)


def shared_path(relative: str) -> Path:
    """A file or folder of the shared truth; skips the test where it is absent, fails it under CI."""
    path = SHARED / relative
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"shared truth {relative} is missing")
        pytest.skip(f"needs shared/{relative}")
    return path
