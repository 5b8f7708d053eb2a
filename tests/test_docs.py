"""The documents say what the code does: references are made from it, code that is quoted is there, and commands exist."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import nmt
from docs.generate import PAGES
from docs.run_tutorials import TUTORIALS, run_tutorials
from nmt.translation.translator import Translator
from nmt_cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted((ROOT / "docs").rglob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "RESULTS.md", "CONTRIBUTING.md")]
EVERY = pytest.mark.parametrize(
    "page",
    [*DOCUMENTS, *OTHERS, *sorted(ROOT.glob("recipes/*/README.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_is_what_the_code_says(name: str) -> None:
    """The pages of keys and of options are those that the code makes."""
    assert (ROOT / "docs" / name).read_text("utf-8") == PAGES[name](), "run `python docs/generate.py`"


@EVERY
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there, and a heading that is in it."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.M) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings}


@EVERY
def test_commands_exist(page: Path) -> None:
    """Every `nmt` verb and option, every `make` target and every recipe that a block of commands names."""
    blocks = "\n".join(_blocks(page.read_text("utf-8"), "sh"))
    makefile, recipes = (ROOT / "Makefile").read_text(), {path.parent.name for path in ROOT.glob("recipes/*/*.toml")}
    for target in re.findall(r"^(?:\w+=\S+ )*make ([a-z0-9-]+)", blocks, re.M):
        assert re.search(rf"^{target}:", makefile, re.M) or target in recipes, target
    for name in re.findall(r"recipes/([\w-]+)", blocks):
        assert name in recipes | {"mine"}, name
    for line in re.findall(r"(?:^|[|&] )(?:NMT_\w+=\S+ )?(?:\.venv/bin/)?nmt ([a-z].*)$", blocks, re.M):
        words = re.sub(r"[|>#&].*", "", line).split()
        verbs = words[:2] if words[0] in ("bench", "data", "tokenizer") else words[:1]
        shown = CliRunner().invoke(app, [*verbs, "--help"], env={"COLUMNS": "300"})
        assert shown.exit_code == 0, line
        for option in re.findall(r"(?<= )(--[a-z-]+)", " ".join(words)):
            assert option in shown.stdout, f"{verbs} {option}"


@EVERY
def test_quoted_code_is_there(page: Path) -> None:
    """A block that begins with `# from FILE` stands in that file, line by line; TOML can be read."""
    text = page.read_text("utf-8")
    for block in _blocks(text, "python"):
        head, _, quoted = block.partition("\n")
        if head.startswith("# from "):
            source = (ROOT / head.removeprefix("# from ")).read_text("utf-8")
            assert textwrap.dedent(quoted) in textwrap.dedent(source) or quoted in source, head
    for block in _blocks(text, "toml"):
        assert tomllib.loads(block)


def test_functions_of_the_api_take_what_their_headings_say() -> None:
    """Names and defaults, in their order."""
    text = (ROOT / "docs/reference/api.md").read_text("utf-8")
    headings = re.findall(r"^## ([\w.]+)\((.*)\)$", text, re.M)
    places = {"nmt": nmt, "Translator": Translator}
    for name, shown in headings:
        owner, function = name.split(".")
        parts = [
            f"{'**' if item.kind is item.VAR_KEYWORD else ''}{item.name}"
            + ("" if item.default is item.empty else f"={json.dumps(item.default)}")
            .replace("null", "None")
            .replace("[]", "()")
            for item in inspect.signature(getattr(places[owner], function)).parameters.values()
            if item.name != "self"
        ]
        assert ", ".join(parts) == shown.replace("*, ", ""), name
    assert len(headings) == 5


def test_tests_that_are_named_exist() -> None:
    """Each promise names the test that proves it."""
    text = (ROOT / "docs/explanation/promises.md").read_text("utf-8")
    files = {path.name: path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    named = re.findall(r"(test_\w+\.py)(?:::(test_\w+))?", text)
    assert len(named) > 30
    for file, name in named:
        assert f"def {name}" in files[file], f"{file}::{name}"


def test_every_page_is_in_the_menu() -> None:
    """No page of the documents is missing from the site."""
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in DOCUMENTS:
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}" in menu, page
    assert all((ROOT / "docs/tutorials" / name).exists() for name in TUTORIALS)


@pytest.mark.thorough
def test_the_tutorials_run(tmp_path: Path) -> None:
    """Their commands, in their order, with fewer updates."""
    run_tutorials(tmp_path)
