"""Opens what `sae export --to html` wrote in a real browser, without a window: browser.py SAE RUN WORK [PICTURES].

RUN is an indexed run. Chromium is driven by its own protocol over a pipe: the pages are opened from the disk, searched, sorted, walked
through by keyboard, and printed; what they show is compared with the Parquet files of the index, and nothing may be asked of any network.
With PICTURES, the pages are left there as they looked, in both colour schemes.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pyarrow.parquet as pq

checks = 0


def check(what, ok, detail=""):
    global checks
    checks += 1
    if not ok:
        sys.exit(f"FAILED: {what} {detail}")


class Browser:
    """One page of a headless Chromium. Commands go out on descriptor 3, answers and events come in on 4."""

    def __init__(self, work):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            sys.exit("no Chromium")
        here, there = os.pipe(), os.pipe()

        def descriptors():
            # The pipes may lie on 3 and 4 themselves: out of the way first.
            ask, answer = os.dup(here[0]), os.dup(there[1])
            os.dup2(ask, 3)
            os.dup2(answer, 4)

        options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --remote-debugging-pipe"
        self.process = subprocess.Popen([program, *options.split(), f"--user-data-dir={work}/profile", "about:blank"],
                                        preexec_fn=descriptors, close_fds=False, stderr=subprocess.DEVNULL)
        os.close(here[0])
        os.close(there[1])
        self.out, self.into = here[1], os.fdopen(there[0], "rb")
        self.rest, self.number, self.events = b"", 0, []
        pages = self.ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in pages if target["type"] == "page")
        self.session = None
        self.session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(domain + ".enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)

    session = None

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"FAILED: {method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def read(self):
        while b"\0" not in self.rest:
            more = os.read(self.into.fileno(), 1 << 20)
            if not more:
                sys.exit("FAILED: Chromium ended")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def evaluated(self, expression):
        """The value, and what was thrown, if anything was."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value"), result.get("exceptionDetails")

    def value(self, expression):
        value, thrown = self.evaluated(expression)
        if thrown:
            sys.exit(f"FAILED: {expression}: {thrown}")
        return value

    def until(self, what, expression):
        # A page that is not there yet has no body, and asking it throws.
        for _ in range(400):
            value, thrown = self.evaluated(expression)
            if value and not thrown:
                return value
            time.sleep(0.05)
        sys.exit(f"FAILED: waited 20 s for {what}; at last {thrown or value}")

    def open(self, path, place=""):
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=path.resolve().as_uri() + place)
        self.until(f"{path}{place}", "document.readyState === 'complete' && document.getElementById('main')?.children.length > 0")

    def key(self, key, text=""):
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "")

    def picture(self, file, scheme):
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def close(self):
        self.process.kill()
        self.process.wait()


sae, run, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
pictures = pathlib.Path(sys.argv[4]) if len(sys.argv) > 4 else None
subprocess.run([sae, "export", run, "--to", "html", "--out", work / "pages", "--quiet"], check=True)
subprocess.run([sae, "export", run, "--to", "html", "--top", "3", "--out", work / "three.html", "--quiet"], check=True)
subprocess.run([sae, "export", run, "--to", "card", "--top", "1", "--out", work / "card.svg", "--quiet"], check=True)
table = pq.read_table(pathlib.Path(run) / "features" / "features.parquet").to_pylist()
by_feature = {row["feature"]: row for row in table}

browser = Browser(work)
index = work / "pages" / "index.html"
browser.open(index)
total = browser.value("document.querySelector('.tools').textContent")
check("the number of features", f"{len(table)} features" in total.replace(",", "").replace("\u202f", ""), total)

# The search, by keyboard: `/` goes to the field, the first found opens with Enter.
liveliest = max(table, key=lambda row: row["count"])
number = str(liveliest["feature"])
browser.key("/", "/")
check("the field has the focus", browser.value("document.activeElement === document.querySelector('input')"))
browser.ask("Input.insertText", text=number)
browser.until("the search", "document.querySelector('.tools').textContent.includes(' of ')")
browser.key("Enter", "\r")
browser.until("a page", "document.querySelector('h1') !== null")
shown = int(browser.value("document.querySelector('h1').textContent.match(/[0-9]+/)[0]"))
check("what was searched for holds the digits", number in str(shown) or shown in by_feature, shown)

# Every figure of a page is the index's.
browser.open(index, "#" + number)
text = browser.until("the page of the liveliest feature", f"document.querySelector('h1')?.textContent.includes('{number}') && document.getElementById('main').innerText")
plain = text.replace(",", "").replace("\u202f", "")
check("on how many tokens it fires", str(liveliest["count"]) in plain, plain[:400])
check("its strongest value", f"{liveliest['max']:.4g}" in plain or f"{liveliest['max']:.3f}" in plain, (liveliest["max"], plain[:400]))
examples = browser.value("document.querySelectorAll('.example').length")
check("it has examples", examples > 0)
check("the shade of the strongest token is the strongest", browser.value(
    "Math.max(...[...document.querySelectorAll('[data-v]')].map(c => +c.style.getPropertyValue('--a')))") >= 0.79)

# By keyboard to the next feature and back.
browser.key("ArrowRight")
browser.until("the next feature", f"!document.querySelector('h1').textContent.includes('Feature {number}')")
browser.key("ArrowLeft")
browser.until("the feature before", f"document.querySelector('h1').textContent.includes('Feature {number}')")

# It prints on white, on some pages.
pdf = base64.b64decode(browser.ask("Page.printToPDF", printBackground=True)["data"])
check("it prints", pdf.startswith(b"%PDF") and len(pdf) > 10_000, len(pdf))
if pictures:
    pictures.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        browser.picture(pictures / f"feature-{scheme}.png", scheme)
    (pictures / "feature.pdf").write_bytes(pdf)
    browser.open(index)
    for scheme in ("light", "dark"):
        browser.picture(pictures / f"index-{scheme}.png", scheme)

# A mistyped address, a folder without its data, one file.
browser.open(index, "#999999")
check("a mistyped address is named", "999999 is not among these" in browser.value("document.body.innerText"))
(work / "alone").mkdir()
shutil.copy(index, work / "alone" / "index.html")
browser.ask("Page.navigate", url=(work / "alone" / "index.html").resolve().as_uri())
browser.until("what is missing", "document.body.innerText.trim().length > 0")
browser.open(work / "three.html")
check("three features in one file", browser.value("document.querySelectorAll('tbody tr').length") == 3)
browser.ask("Page.navigate", url=(work / "card.svg").resolve().as_uri())
browser.until("the card", "document.documentElement.tagName === 'svg' && document.querySelectorAll('text').length > 5")

events = browser.events
asked = {event["params"]["request"]["url"] for event in events if event.get("method") == "Network.requestWillBeSent"}
outside = [url for url in asked if not url.startswith(("file:", "about:", "data:"))]
check("nothing is asked of a network", not outside and any(url.startswith("file:") for url in asked), outside)
wrong = [event["params"] for event in events if event.get("method") == "Runtime.exceptionThrown"]
check("no script fails", not wrong, wrong)
browser.close()
print(f"pages of {len(table)} features in Chromium: {checks} checks, {len(asked)} files asked for, none from a network")
