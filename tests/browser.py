"""A headless Chromium that tests drive over pipes, by the DevTools protocol."""

import itertools
import json
import os
import select
import shutil
import subprocess

COMMAND = shutil.which("chromium")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
_PATIENCE = 60  # seconds for an answer
_COMPLAINTS = "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"


class Browser:
    """One page in a browser of its own; `complaints` gathers what its console says."""

    def __init__(self, profile):
        """Starts the browser with its profile in a folder."""
        self.complaints, self.requests = [], []
        self._number, self._session, self._rest = 0, None, b""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads from its descriptor 3 and writes to 4; a shell puts the pipes there.
        shell = "bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash"
        self._process = subprocess.Popen(
            [*shell, COMMAND, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs_in, theirs_out),
        )
        os.close(theirs_in)
        os.close(theirs_out)
        pages = self.call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self):
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], _PATIENCE)[0], "the browser doesn't answer"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser ended"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        if message.get("method") in _COMPLAINTS:
            self.complaints.append(message["params"])
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message

    def open(self, path, width=1200, height=900, scheme="light"):
        """Opens a file in a window of a size, in CSS pixels, and waits until all is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=path.resolve().as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"]["value"]

    def close(self):
        """Ends the browser."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait()


def check_quiet(browser, page):
    """Everything is there, nothing is fetched, nothing complained about, at any width and hue."""
    letters = "e => parseFloat(getComputedStyle(e).fontSize)"
    for width, scheme in itertools.product((390, 1200), ("light", "dark")):
        browser.open(page, width, scheme=scheme)
        assert browser.evaluate("innerWidth") == width
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.images.length") > 0
        assert browser.evaluate("[...document.images].filter(i => !i.naturalWidth).length") == 0
        sizes = browser.evaluate(f"[...document.querySelectorAll('p, td, th, li')].map({letters})")
        assert min(sizes) >= 13
    assert browser.complaints == []
    assert {url for url in browser.requests if not url.startswith("data:")} == {page.as_uri()}
