"""The files of the page are small, plain, and find each other."""

from __future__ import annotations

import re
from importlib.resources import files

FOLDERS = files("nmt.serving").joinpath("page"), files("nmt.report").joinpath("templates/shared")
PAGE = {file.name: file.read_text(encoding="utf-8") for folder in FOLDERS for file in folder.iterdir()}


def test_the_page_is_small() -> None:
    """No file has more than 300 lines, no line of a script more than 160 letters, and all together are below 100 kB."""
    for name, text in PAGE.items():
        assert text.count("\n") <= 300, name
        assert not name.endswith(".js") or max(map(len, text.splitlines())) <= 160, name
    assert sum(len(text.encode()) for text in PAGE.values()) < 100_000


def test_files_of_the_page_find_each_other() -> None:
    """Each file that is named by another is there, and each that is there is named."""
    named = {"index.html"}
    for text in PAGE.values():
        named |= set(re.findall(r'(?:from "\./|"/page/)([\w.-]+)"', text))
    assert named == PAGE.keys()


def test_the_page_makes_no_markup_of_text() -> None:
    """No script writes HTML, runs text, or knows an address outside the server."""
    for name, text in PAGE.items():
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
        ):
            assert word not in text, (name, word)
        assert set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]+", text)) <= {"http://www.w3.org"}, name
