"""A browser that tests the page: Chromium, driven by Playwright; both are optional."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PHONE, DESKTOP = (360, 740), (1280, 900)


@contextmanager
def browser() -> Generator[Any]:
    """Starts the browser; skips the test where it or Playwright is missing."""
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright")
    if _CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with importlib.import_module("playwright.sync_api").sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=_CHROMIUM, args=list(_OPTIONS))
        yield opened
        opened.close()


def axe() -> str:
    """Returns the script of axe-core, which looks for faults of accessibility; skips the test where it is missing."""
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-core is not installed: pip install axe-playwright-python")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@dataclass
class Visit:
    """A page in a window of its own, and what went wrong in it."""

    page: Any
    address: str
    faults: list[str] = field(default_factory=list[str])

    def open(self, route: str, **inputs: str) -> Any:
        """Opens a view with its inputs, and waits until it is quiet."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/#{route}?{urlencode(inputs)}")
        self.page.wait_for_load_state("networkidle")
        return self.page

    def saved(self) -> str:
        """Returns the picture that the page saves."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Save as SVG").click()
        return Path(download.value.path()).read_text(encoding="utf-8")

    def linked(self) -> str:
        """Returns the link to what is shown."""
        self.page.get_by_role("button", name="Link to this").click()
        return str(self.page.url)

    def found_by_axe(self, script: str) -> list[str]:
        """Returns the serious faults of accessibility."""
        self.page.evaluate(script)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [item for item in found["violations"] if item["impact"] in ("serious", "critical")]
        return [f"{item['id']}: {json.dumps([node['html'][:200] for node in item['nodes'][:3]])}" for item in serious]


@contextmanager
def visit(
    opened: Any, port: int, size: tuple[int, int] = DESKTOP, scheme: str = "light", allowed: tuple[int, ...] = ()
) -> Generator[Visit]:
    """Opens a window; at its end nothing may have gone wrong in it, and no request may have left the server.

    Args:
        opened: the browser.
        port: that of the server.
        size: width and height.
        scheme: light or dark.
        allowed: statuses of answers that the console may complain about.
    """
    context = opened.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    context.set_default_timeout(10_000)
    address = f"http://127.0.0.1:{port}"
    seen = Visit(context.new_page(), address)

    def heard(message: Any) -> None:
        expected = any(f"status of {status}" in message.text for status in allowed)
        if message.type in ("error", "warning") and not expected and not (0 in allowed and "ERR_" in message.text):
            seen.faults.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith((f"{address}/", "blob:", "data:", "about:")):
            seen.faults.append(f"asked {request.url}")

    def alarmed(dialog: Any) -> None:
        seen.faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    seen.page.on("console", heard)
    seen.page.on("pageerror", lambda error: seen.faults.append(str(error)))
    seen.page.on("request", asked)
    seen.page.on("dialog", alarmed)
    try:
        yield seen
        assert not seen.faults
    finally:
        context.close()
