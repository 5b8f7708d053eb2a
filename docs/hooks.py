"""What the site needs beyond the pages: links to files outside of docs/, and the page of results.

On GitHub a link to a source file leads to it. The site holds no sources, so there the link becomes its text. RESULTS.md and the
pictures that it shows are taken into the site.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)")
_RESULTS, _PICTURES = "results.md", "pictures/recipes"


def on_files(files: Any, config: Any) -> Any:
    """Adds the results and their pictures."""
    generated = import_module("mkdocs.structure.files").File.generated
    root = Path(config.config_file_path).parent
    text = (root / "RESULTS.md").read_text(encoding="utf-8")
    files.append(generated(config, _RESULTS, content=text))
    for mark, _, target, _ in _LINK.findall(text):
        if mark:
            place = _PICTURES + target.removeprefix("recipes")
            files.append(generated(config, place, abs_src_path=str(root / target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Keeps the links that lead to pages of the site; of the others the text."""
    source = page.file.src_uri
    folder = PurePosixPath("." if source == _RESULTS else "docs") / PurePosixPath(source).parent

    def rewritten(link: re.Match[str]) -> str:
        mark, text, target, anchor = link.groups()
        place = normpath(str(folder / target))
        inside = _place_in_site(place, bool(mark))
        if inside is None:
            return text
        return f"{mark}[{text}]({relpath(inside, str(PurePosixPath(source).parent))}{anchor or ''})"

    return _LINK.sub(rewritten, markdown)


def _place_in_site(place: str, picture: bool) -> str | None:
    """Where a file of the repository stands in the site; None: nowhere."""
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    if place == "RESULTS.md":
        return _RESULTS
    return _PICTURES + place.removeprefix("recipes") if picture else None
