"""A headless Chromium, and axe-core's checks of a page in it. Where there is none, tests that need one are skipped.

In CI they fail instead: `.ci/run` installs it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
Scheme = Literal["light", "dark"]


def chromium() -> str:
    """The browser's path; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        why = "there is no Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        running = playwright.chromium.launch(executable_path=path, args=sandbox)
        try:
            yield running
        finally:
            running.close()


class Visit:
    """A page in the browser, and what went wrong on it."""

    def __init__(
        self, running: Browser, url: str, *, width: int = 1280, height: int = 900, scheme: Scheme = "light"
    ) -> None:
        self.wrong: list[str] = []
        """Errors of scripts, and what the console was told."""
        self.page: Page = running.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=width < 700
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._heard)
        self.page.goto(url)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.wrong.append(f"{message.type}: {message.text}")

    def text(self, selector: str) -> str:
        return " ".join(self.page.locator(selector).first.inner_text().split())

    def until(self, expression: str, argument: Any = None) -> None:
        """Wait until an expression of JavaScript is true."""
        self.page.wait_for_function(expression, arg=argument, timeout=60_000)

    def until_says(self, selector: str, text: str) -> None:
        self.until(
            "([selector, text]) => (document.querySelector(selector)?.innerText ?? '').includes(text)", [selector, text]
        )

    def violations(self) -> list[str]:
        """What axe-core finds wrong, in a line each."""
        self.page.evaluate(AXE_SCRIPT)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: {node['html'][:160]} {node.get('failureSummary', '')}"
            for one in found["violations"]
            for node in one["nodes"]
        ]
