"""What the site needs beyond the pages: links to files outside of docs/, the page of results, and where long names may break.

On GitHub a link to a source file leads to it. The site holds no sources. So there the link becomes its text, and its tooltip
names the file. RESULTS.md and the pictures that it shows are taken into the site.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)")
_CELL = re.compile(r"<td.*?</td>", re.DOTALL)
# Code in a sentence; that of a block stands behind an empty span.
_CODE = re.compile(r"(?<!<span></span>)<code>[^<]*</code>")
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
    """Keeps the links that lead to pages of the site; of the others the text, with the file's name as a tooltip."""
    source = page.file.src_uri
    folder = PurePosixPath("." if source == _RESULTS else "docs") / PurePosixPath(source).parent

    def rewritten(link: re.Match[str]) -> str:
        mark, text, target, anchor = link.groups()
        place = normpath(str(folder / target))
        inside = _place_in_site(place, bool(mark))
        if inside is None:
            return f"`{place}`" if text == place else f'<abbr title="{place}">{text}</abbr>'
        return f"{mark}[{text}]({relpath(inside, str(PurePosixPath(source).parent))}{anchor or ''})"

    return _LINK.sub(rewritten, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """No `--option` is parted from its dashes. In tables a long name may break between its parts, and an interval may not."""
    html = _CELL.sub(lambda cell: _breakable(cell.group()), html)
    return _CODE.sub(lambda code: _whole_options(code.group()), html)


def _breakable(cell: str) -> str:
    def with_breaks(code: re.Match[str]) -> str:
        # A bar in a table stands behind a backslash. GitHub takes it away in code, and Markdown in Python does not.
        text = code.group().replace(r"\|", "|")
        return re.sub(r"(?:(?<!<)/|::)(?=\w)|(?<=[^\W_])_(?=\w{4})|\.(?=\w{6})", r"\g<0><wbr>", text)

    cell = re.sub(r"(\[[-+]?[\d.]+), ", r"\1,&nbsp;", cell)
    return _whole_options(re.sub(r"<code>.*?</code>", with_breaks, cell))


def _whole_options(html: str) -> str:
    return re.sub(r"(?<=[ >(])--?[A-Za-z]\w*", r'<span class="whole">\g<0></span>', html)


def _place_in_site(place: str, picture: bool) -> str | None:
    """Where a file of the repository stands in the site; None: nowhere."""
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    if place == "RESULTS.md":
        return _RESULTS
    return _PICTURES + place.removeprefix("recipes") if picture else None
