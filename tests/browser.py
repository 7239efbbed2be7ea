"""A headless Chromium, driven over its DevTools pipe: no driver and no socket."""

import base64
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60.0
KEYS = {"Home": 36, "End": 35, "ArrowLeft": 37, "ArrowRight": 39}


def program() -> str:
    """The Chromium that is installed; skips the test where there is none, fails it under CI."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium")
        pytest.skip("needs a Chromium")
    return found


class Page:
    """A page that is shown. `complaints`: errors and warnings of its console, and exceptions."""

    def __init__(self, commands: int, replies: int) -> None:
        self._commands, self._replies = commands, replies
        self._read = b""
        self._sent = 0
        self._session: str | None = None
        self.complaints: list[str] = []

    def open(self, path: Path) -> None:
        """Show a file."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        # A window that holds the whole page, so that nothing scrolls.
        window = {"width": 1200, "height": 5000, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **window)
        self.send("Page.navigate", url=path.as_uri())
        until = time.monotonic() + SECONDS
        while not self.evaluate("location.protocol == 'file:' && document.readyState == 'complete'"):
            assert time.monotonic() < until, "the page does not load"
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place of the window and release it at another."""
        for kind, (x, y), held in (
            ("mousePressed", start, 1),
            ("mouseMoved", end, 1),
            ("mouseReleased", end, 0),
        ):
            place = {"x": x, "y": y, "button": "left", "buttons": held, "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, **place)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left edge, upper edge, width and height of an element in pixels of the window."""
        found = self.evaluate(
            "(box => [box.left, box.top, box.width, box.height])"
            f"(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        return (found[0], found[1], found[2], found[3])

    def picture(self, selector: str) -> np.ndarray:
        """What is seen of an element, (h, w, 3) uint8."""
        clip = {**dict(zip(("x", "y", "width", "height"), self.box(selector), strict=True)), "scale": 1}
        found = self.send("Page.captureScreenshot", format="png", clip=clip)
        with av.open(io.BytesIO(base64.b64decode(found["data"]))) as container:
            return next(container.decode(video=0)).to_ndarray(format="rgb24")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command and wait for its result."""
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": params}
        if self._session is not None and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._sent:
                assert "error" not in reply, reply
                return dict(reply["result"])
            self._listen(reply)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            part = os.read(self._replies, 1 << 16)
            assert part, "Chromium ended"
            self._read += part
        message, _, self._read = self._read.partition(b"\0")
        return dict(json.loads(message))

    def _listen(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {params['message']}")


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page of a fresh Chromium, which ends with the block. profile: an empty folder for what it stores."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command = [
        program(),
        *options,
        f"--user-data-dir={profile}",
        "--window-size=1200,900",
        "--remote-debugging-pipe",
    ]
    down, up = os.pipe(), os.pipe()
    redirect = f'exec "$@" 3<&{down[0]} 4>&{up[1]}'
    started = subprocess.Popen(
        ["bash", "-c", redirect, "bash", *command],
        pass_fds=(down[0], up[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(down[0]), os.close(up[1])
    try:
        yield Page(down[1], up[0])
    finally:
        os.close(down[1]), os.close(up[0])
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
