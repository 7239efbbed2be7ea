"""The user's cache of downloaded weights: fetched whole, checked, and only then given their name."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from vqe_cli.errors import VqeError

BLOCK = 1 << 18
TIMEOUT_S = 30.0
# Called with bytes so far and bytes in all (None when the server does not say).
Progress = Callable[[int, int | None], None]


def download(url: str, target: Path, sha256: str, progress: Progress | None = None) -> None:
    """Fetch `url` into `target`: written beside it, compared with `sha256`, then renamed.

    Raises VqeError when the server cannot be reached or refuses, the transfer breaks off, the content is not
    the expected one, or the folder cannot be written. `target` is then as it was before.
    """
    aside = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as file:
            aside = Path(file.name)
            found = _transfer(url, file.write, progress)
        if found != sha256:
            raise VqeError(
                f"what {url} gave is not the expected file (sha256 {found[:12]}…, not {sha256[:12]}…).",
                "Try again; if it stays so, the file on the server was changed: do not use it.",
            )
        os.replace(aside, target)
    except OSError as error:
        raise VqeError(
            f"cannot write {target} ({error.strerror or error}).", "Make room or rights there."
        ) from error
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def _transfer(url: str, write: Callable[[bytes], int], progress: Progress | None) -> str:
    """Hand the content of `url` to `write`, block by block; gives its sha256.

    Raises VqeError for what the network does; OSError of `write` passes through.
    """
    digest, done = hashlib.sha256(), 0
    try:
        response = urllib.request.urlopen(url, timeout=TIMEOUT_S)
    except (OSError, ValueError, HTTPException) as error:
        raise _unreachable(url, error) from error
    with response:
        size = response.headers.get("Content-Length")
        total = int(size) if size else None
        while True:
            try:
                block = response.read(BLOCK)
            except (OSError, HTTPException) as error:
                raise _unreachable(url, error) from error
            if not block:
                break
            write(block)
            digest.update(block)
            done += len(block)
            if progress:
                progress(done, total)
    if total is not None and done < total:
        raise _unreachable(url, f"it broke off after {done} of {total} bytes")
    return digest.hexdigest()


def _unreachable(url: str, why: object) -> VqeError:
    if isinstance(why, urllib.error.URLError) and not isinstance(why, urllib.error.HTTPError):
        why = why.reason
    return VqeError(f"cannot fetch {url} ({why}).", "Check the network and the address, then try again.")
