"""A headless Chromium, by the DevTools protocol over a pipe, which needs no packages."""

import fcntl
import json
import os
import shutil
import subprocess
import time

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
FLAGS += " disable-component-update remote-debugging-pipe"


class Browser:
    """With one tab. profile: a new folder. problems: what its console and log said, and exceptions of scripts."""

    def __init__(self, profile):
        self.number, self.session, self.problems, self.rest = 0, None, [], b""
        low = [*os.pipe(), *os.pipe()]
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low]  # 3 and 4 are the browser's
        [os.close(end) for end in low]
        command = [PROGRAM, *(f"--{flag}" for flag in FLAGS.split()), f"--user-data-dir={profile}", "about:blank"]

        def give():  # 3 to read from, 4 to write to
            os.dup2(ends[0], 3), os.dup2(ends[3], 4)

        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, pass_fds=(3, 4), preexec_fn=give)
        self.to, self.out = os.fdopen(ends[1], "wb", 0), os.fdopen(ends[2], "rb", 0)
        os.close(ends[0]), os.close(ends[3])
        tab = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """A command's result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        self.to.write(json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while (answer := self.read()).get("id") != self.number:
            if answer.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                self.problems.append(answer["params"])
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def read(self):
        while b"\0" not in self.rest:
            more = self.out.read(2**20)
            assert more, "the browser has ended"
            self.rest += more
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def js(self, code):
        """The value of an expression in the page, awaited."""
        result = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, code):
        """Until an expression is true."""
        end = time.monotonic() + 60
        while not self.js(code):
            assert time.monotonic() < end, code
            time.sleep(0.02)

    def open(self, path):
        self.call("Page.navigate", url=path.absolute().as_uri())
        self.wait(f"document.readyState === 'complete' && location.href.endsWith({json.dumps(path.name)})")

    def close(self):
        self.call("Browser.close")
        self.process.wait(60)
        self.to.close(), self.out.close()
