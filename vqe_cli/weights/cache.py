"""The user's cache of downloaded weights: fetched whole, checked, and only then given their name.

Neither weights.toml nor a server is trusted: a file gets a bare name in the cache's own folder, only http and
https are spoken, and a transfer has a greatest size, a longest time and a least speed.
"""

import functools
import hashlib
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from vqe_cli.errors import VqeError, WeightsError, shortened
from vqe_cli.files import Aside, cache_folder

BLOCK = 1 << 18
MIB = 1 << 20
# Called with bytes so far and bytes in all (None when the server does not say).
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class TransferLimits:
    """What a download may take.

    bytes: its size. seconds: from the first connection to the last byte. window_s: in each of these spans at
    least `least_bytes` must arrive; also the longest wait for an answer.
    """

    bytes: int = 512 * MIB
    seconds: float = 7200.0
    window_s: float = 30.0
    least_bytes: int = 16 << 10


def is_bare_name(name: str) -> bool:
    """Whether `name` names a file in a folder and nothing else, on any system: no path, no drive, no dots."""
    return (
        0 < len(name.encode(errors="replace")) <= 200
        and name[0] not in ". "
        and name[-1] not in ". "
        and name.isprintable()
        and not set(name) & set('/\\:*?"<>|')
    )


def is_address(url: str) -> bool:
    """Whether `url` is one of http or https that can be asked for."""
    return len(url) <= 2000 and re.fullmatch(r"https?://[!-~]+", url) is not None


def cached(name: str) -> Path:
    """Where a fetched file of this name lies; VqeError for a name that would lead out of the cache."""
    if not is_bare_name(name):
        raise WeightsError(
            f"weights.toml names the file {shortened(name)}, which cannot be put into the cache.",
            "A file with a url has a bare name, without folders.",
        )
    return cache_folder() / name


def download(
    url: str,
    target: Path,
    sha256: str,
    progress: Progress | None = None,
    limits: TransferLimits = TransferLimits(),
) -> None:
    """Fetch `url` into `target`: written beside it, compared with `sha256`, then renamed.

    Raises VqeError when the server cannot be reached or refuses, the transfer breaks off or goes beyond the
    limits, the content is not the expected one, or the folder cannot be written. `target` is then as it was
    before; a link that lies there is replaced, not followed.
    """
    if not is_address(url):
        raise WeightsError(
            f"{shortened(url)} is not an address that weights are fetched from.", "Give one of http or https."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with Aside(target) as aside:
            with aside.open("wb") as file:
                found = _transfer(url, file.write, progress, limits)
            if found != sha256.lower():
                raise WeightsError(
                    f"what {url} gave is not the expected file (sha256 {found[:12]}…, not {sha256[:12]}…).",
                    "Try again; if it stays so, the file on the server was changed: do not use it.",
                )
    except OSError as error:
        raise WeightsError(
            f"cannot write {target} ({error.strerror or error}).", "Make room or rights there."
        ) from error


def _transfer(
    url: str, write: Callable[[bytes], int], progress: Progress | None, limits: TransferLimits
) -> str:
    """Hand the content of `url` to `write`, block by block; gives its sha256.

    Raises VqeError for what the network does; OSError of `write` passes through.
    """
    digest = hashlib.sha256()
    with _watched(url, limits) as watch:
        response = watch.read(lambda: watch.opener().open(url, timeout=limits.window_s))
        with response:
            total = response.length  # None where the server names none, or nothing that is a size
            if (total or 0) > limits.bytes:
                raise _too_large(url, limits)
            while watch.arrived != total:
                most = BLOCK if total is None else min(BLOCK, total - watch.arrived)
                block = watch.read(functools.partial(response.read1, most))
                if not block:
                    break
                watch.arrived += len(block)
                if watch.arrived > limits.bytes:
                    raise _too_large(url, limits)
                write(block)
                digest.update(block)
                if progress:
                    progress(watch.arrived, total)
    if total is not None and watch.arrived < total:
        raise _unreachable(url, f"it broke off after {watch.arrived} of {total} bytes")
    return digest.hexdigest()


class _Watch:
    """A transfer that is cut from outside when it takes too long, even in the middle of a header."""

    def __init__(self, url: str, limits: TransferLimits) -> None:
        self.arrived = 0
        self.cut_for = ""
        self.done = threading.Event()
        self._url, self._limits = url, limits
        self._sockets: list[socket.socket] = []

    def opener(self) -> urllib.request.OpenerDirector:
        """Speaks http and https and follows redirects to these; all connections can be cut."""
        opened = self._opened

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                opened(self.sock)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                opened(self.sock)

        class Http(urllib.request.HTTPHandler):
            def http_open(self, req: urllib.request.Request) -> Any:
                return self.do_open(Plain, req)

        class Https(urllib.request.HTTPSHandler):
            def https_open(self, req: urllib.request.Request) -> Any:
                return self.do_open(Secure, req)

        director = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            Http(),
            Https(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            director.add_handler(handler)
        return director

    def read(self, step: Callable[[], Any]) -> Any:
        """What a step of the transfer gives; VqeError for whatever the network does in it."""
        try:
            found = step()
        except (OSError, ValueError, HTTPException, AttributeError) as error:
            # A connection that is cut while it is used fails in several ways, AttributeError among them.
            if isinstance(error, AttributeError) and not self.cut_for:
                raise
            raise _unreachable(self._url, self.cut_for or error) from error
        if self.cut_for:
            raise _unreachable(self._url, self.cut_for)
        return found

    def run(self) -> None:
        """Looks after the transfer until it is done."""
        left, before, least = self._limits.seconds, 0, 1
        while not self.cut_for and not self.done.wait(min(self._limits.window_s, left)):
            left -= self._limits.window_s
            if left <= 0:
                self._cut(f"it took longer than {self._limits.seconds:g} s")
            elif self.arrived - before < least:
                self._cut(f"less than {least} bytes came in {self._limits.window_s:g} s")
            before, least = self.arrived, self._limits.least_bytes

    def _opened(self, connected: socket.socket) -> None:
        self._sockets.append(connected)
        if self.cut_for:
            raise OSError(self.cut_for)

    def _cut(self, why: str) -> None:
        self.cut_for = why
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already


@contextmanager
def _watched(url: str, limits: TransferLimits) -> Iterator[_Watch]:
    """A watch that runs beside what is done with it."""
    watch = _Watch(url, limits)
    beside = threading.Thread(target=watch.run, daemon=True)
    beside.start()
    try:
        yield watch
    finally:
        watch.done.set()
        beside.join()


def _too_large(url: str, limits: TransferLimits) -> VqeError:
    return WeightsError(
        f"{url} gives more than {limits.bytes // MIB} MiB, which no weights of vqe have.",
        "Check the address in weights.toml.",
    )


def _unreachable(url: str, why: object) -> VqeError:
    if isinstance(why, urllib.error.HTTPError):
        why = f"the server answers {why.code}"  # its own words may be anything
    elif isinstance(why, urllib.error.URLError):
        why = why.reason
    if isinstance(why, Exception):
        why = shortened(str(why) or type(why).__name__, 120).strip("'\"")
    return WeightsError(f"cannot fetch {url} ({why}).", "Check the network and the address, then try again.")
