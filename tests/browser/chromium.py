"""A headless Chromium controlled over two pipes with its DevTools protocol, without a driver program or library."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-dejavu-core")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-default-browser-check"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe"),
)
PATIENCE_S = 60
KEYS = {
    "Enter": 13,
    "Escape": 27,
    "Tab": 9,
    " ": 32,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


def find_chromium() -> str:
    """Return the program; if there is none, install the distribution's if permitted, else skip with the reason."""
    found, reason = _look(), "no Chromium, and installing it needs root and apt-get"
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends", *PACKAGES]
        for command in (install, ["apt-get", "update"], install):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if (found := _look()) is not None:
                break
        reason = f"apt-get cannot install {' '.join(PACKAGES)}: {(result.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    if found is None:
        pytest.skip(reason)
    return found


def _look() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a fresh Chromium.

    Attributes
    ----------
    complaints : errors and warnings of the page's console, scripts and requests, in order
    """

    def __init__(self, program: str) -> None:
        self.complaints: list[str] = []
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        pipes = [fcntl.fcntl(pipe, fcntl.F_DUPFD, 10) for pipe in (read_commands, write_answers)]  # not 3 and 4, on which it listens
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{pipes[0]} 4>&{pipes[1]}', program, *OPTIONS]
        command += [f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=pipes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for pipe in (*pipes, read_commands, write_answers):
            os.close(pipe)
        self._buffer, self._session, self._number, self._loaded = b"", None, 0, 0
        target = next(item for item in self.call("Target.getTargets")["targetInfos"] if item["type"] == "page")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the program and delete its profile."""
        self._session = None
        self.call("Browser.close")
        self._process.wait(PATIENCE_S)
        os.close(self._commands)
        os.close(self._answers)
        self._profile.cleanup()

    def call(self, method: str, **parameters: object) -> dict:
        """Return the response to a protocol command; events that arrive meanwhile are recorded."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps({"id": self._number, "method": method, "params": parameters, **session}).encode() + b"\0")
        while True:
            message = self._read()
            if message.get("id") == self._number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]

    def _read(self) -> dict:
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self._answers, 1 << 20) if ready else b""
            if not part:
                raise AssertionError("Chromium does not answer")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event: str | None, about: dict) -> None:
        if event == "Page.loadEventFired":
            self._loaded += 1
        elif event == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.complaints.append(f"exception: {details.get('exception', {}).get('description') or details['text']}")
        elif event == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.complaints.append(f"console {about['type']}: {[item.get('value') for item in about['args']]}")
        elif event == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"log: {about['entry']['text']}")
        elif event == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("file:", "data:")):
            self.complaints.append(f"request: {about['request']['url']}")

    def open(self, path: Path) -> None:
        """Load a file and wait until it is loaded."""
        before = self._loaded
        self.call("Page.navigate", url=path.absolute().as_uri())
        while self._loaded == before:
            self._read()

    def run(self, script: str) -> object:
        """Return the value of an expression evaluated in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def set_size(self, width: int, height: int) -> None:
        """Set the size of the page in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, **features: str) -> None:
        """Set a preference of the reader's system: ``prefers_color_scheme="dark"``."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def find(self, selector: str) -> tuple[float, float]:
        """Scroll the first visible element of a selector into view and return its middle."""
        box = self.run(f"""(() => {{
            const found = [...document.querySelectorAll({json.dumps(selector)})].find((item) => item.checkVisibility());
            if (!found) return null;
            found.scrollIntoView({{ block: "center", inline: "center", behavior: "instant" }});
            const box = found.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2];
        }})()""")
        assert box is not None, f"nothing visible is {selector}"
        return tuple(box)

    def hover(self, selector: str) -> None:
        """Move the mouse onto an element."""
        x, y = self.find(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Click on an element, whatever covers it, once it has been drawn at the same place in two frames."""
        self.hover(selector)
        place = self.find(selector)
        while True:
            self.run("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            before, place = place, self.find(selector)
            if before == place:
                break
        x, y = place
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r", " ": " "}.get(key)
        about = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def choose(self, selector: str, value: object) -> None:
        """Set a control to a value as a reader would, firing its events."""
        chosen = self.run(f"""(() => {{
            const control = document.querySelector({json.dumps(selector)});
            if (control.type === "checkbox") control.checked = {json.dumps(bool(value))}; else control.value = {json.dumps(str(value))};
            control.dispatchEvent(new Event("input", {{ bubbles: true }}));
            return control.value;
        }})()""")
        assert isinstance(value, bool) or chosen == str(value), f"{selector} does not offer {value}"

    def photograph(self, path: Path) -> None:
        """Write a screenshot of the window as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
