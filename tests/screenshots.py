"""Takes the pictures of docs/page.md: of the page of a real run that counts, on which a worker has just been killed.

`make screenshots` calls it. It starts a run and a broker of its own in a temporary directory, and takes two minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from browser import Scheme, Visit, browser

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PICTURES: tuple[tuple[str, int, Scheme], ...] = (
    ("page-light", 1280, "light"),
    ("page-dark", 1280, "dark"),
    ("page-phone", 390, "light"),
)
LETTERS = b"x" * 1_000_001 + b"\n" + b"caf\xe9 \x1b[31m" + b"y" * 1_000_001 + b"\n"


def waited(what: str, look: Callable[[], Any], seconds: float = 240.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"waited {seconds:.0f} s in vain for {what}")


@contextmanager
def running(place: Path, *line: str, stdin: int = subprocess.DEVNULL) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        **os.environ,
        "WCSUP_APP_ID": "books",
        "WCSUP_STATE_DIR": str(place / "state"),
        "WCSUP_DATA_DIR": str(place / "broker"),
    }
    with (place / "output").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "wcsup", *line], stdin=stdin, stdout=output, stderr=output, env=environment
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def take(seconds: float, port: int) -> None:
    url = f"http://127.0.0.1:{port}"

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:  # noqa: S310 - its own
            return json.load(answer)

    with TemporaryDirectory() as folder, browser() as chromium:
        place, token = Path(folder), Path(folder, "token")
        letters = place / "letters.txt"
        letters.write_bytes(LETTERS)
        http = ("--http", f"127.0.0.1:{port}", "--http-token", str(token))
        try:
            with running(place, "run", "--plain", "--mappers", "3", "--reducers", "2", *http):
                waited("the run", lambda: get("/status.json")["ready"])
                with running(place, "gen", str(letters)) as feeding:
                    feeding.wait(120)
                with running(place, "gen", "--demo", "--rate", "2000"):
                    waited("some history", lambda: len(get("/history.json")["recent"]["time"]) > seconds)
                    seen = Visit(chromium, url)
                    seen.page.fill("#token", token.read_text().strip())
                    seen.page.press("#token", "Enter")
                    seen.page.click("[data-do=kill][data-slot=map-1]")
                    seen.page.click("#ask-yes")
                    waited("the killed worker", lambda: get("/status.json")["restarts"].get("killed"))
                    seen.page.close()
                    time.sleep(15)
                    for name, width, scheme in PICTURES:
                        seen = Visit(chromium, url, width=width, height=1800 if width < 700 else 900, scheme=scheme)
                        picture(seen, token.read_text().strip(), name, whole=width > 700)
        finally:
            with running(place, "broker", "stop") as stopping:
                stopping.wait(60)


def picture(seen: Visit, token: str, name: str, *, whole: bool) -> None:
    IMAGES.mkdir(exist_ok=True)
    seen.page.fill("#token", token)
    seen.page.press("#token", "Enter")
    seen.page.fill("#word", "the")
    seen.page.press("#word", "Enter")
    seen.page.click("#letters-load")
    seen.until_says("#letters", "is longer than")
    seen.until_says("#found", "a second over the last")
    seen.page.evaluate("() => { document.activeElement?.blur(); scrollTo({top: 0, behavior: 'instant'}); }")
    seen.page.screenshot(path=IMAGES / f"{name}.png", full_page=whole)
    print(f"{IMAGES / name}.png", *(seen.wrong or ["nothing wrong"]))
    seen.page.close()


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument(
        "--seconds", type=float, default=60.0, help="How long the run counts before the pictures are taken."
    )
    asked.add_argument("--port", type=int, default=9413)
    given = asked.parse_args()
    take(given.seconds, given.port)
