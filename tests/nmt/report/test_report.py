"""The page about a run: self-contained, escaped, whole, and without errors in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from command import run
from nmt.corpus.prepared import Prepared
from nmt.corpus.testset import TestSet
from nmt.errors import ConfigError
from nmt.report import templating
from nmt.report.material import AttentionMap, Example, RunMaterial, Sampled, material_of, sampled
from nmt.report.page import _differences, render
from nmt.storage.bundle import load_model
from nmt.storage.run_folder import RunFolder
from nmt.training.trainer import Trainer
from nmt.translation.result import Options
from nmt.translation.translator import Translator
from nmt_cli.report import _shared_testsets
from nmt_data.prepare import prepare
from tiny import make_recipe

EVIL = '<script>alert("x")</script> & </pre>'


@pytest.fixture(scope="module")
def material(trained: Path) -> RunMaterial:
    """Of a trained run, which reads no more than 12 tokens of a line; its corpus has two test sets."""
    loaded = load_model(trained)
    search = loaded.recipe.search.model_copy(update={"beam": 1})
    translator = Translator(loaded, search=search, options=Options(max_source=12))
    prepared = prepare(loaded.recipe)
    testsets = [prepared.testset(name) for name in prepared.testsets() if name != "valid"]
    return material_of(trained, "trained", prepared, translator, testsets)


class _Tags(HTMLParser):
    """Open tags, which must close in order."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.slow
def test_the_page_is_whole_and_needs_no_network(material: RunMaterial) -> None:
    """Every tag closes; no address is loaded; scores carry signatures; curves, maps and provenance are there."""
    page = render([material, replace(material, name="other")])
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert page.count("data-chart='{") == 6 + len(material.evaluations)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page.replace("http://www.w3.org/2000/svg", ""))
    assert "nrefs:1|bs:1000" in page
    assert page.count('class="attention"') == 2 * len(material.attention) > 0
    assert f"{material.card['parameters']:,}" in page
    assert all(0.99 < sum(row) < 1.01 for item in material.attention for row in item.weights)
    assert max(len(item.source) for item in material.attention) == 12 + len(["</s>"])
    assert all(len(row) == len(item.source) for item in material.attention for row in item.weights)


@pytest.mark.slow
def test_whatever_comes_from_outside_is_escaped(material: RunMaterial) -> None:
    """Script tags in any text of a report are escaped in the page."""
    evil = replace(
        material,
        name=EVIL,
        recipe=EVIL,
        card=material.card | {"device": EVIL},
        data=material.data | {"licence": EVIL},
        examples=[Example(EVIL, EVIL, EVIL + " too")],
        attention=[AttentionMap([EVIL], [EVIL], [[1.0]])],
        samples=[Sampled(EVIL, EVIL, [(1, EVIL)])],
    )
    page = render([evil])
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 11


@pytest.mark.slow
def test_text_without_translations_is_counted(material: RunMaterial) -> None:
    """Beside the pairs, if there is any."""
    counted = replace(material, data=material.data | {"mono": {"read": 1200, "kept": 1100}})
    assert "; 1,200 lines of text without translations read, 1,100 kept" in render([counted])
    assert "without translations" not in render([material])


@pytest.mark.slow
def test_the_sentences_of_validations_are_shown(trained: Path, material: RunMaterial) -> None:
    """What was said of each after the first, a middle and the last one; a run without samples has no such section."""
    entries = RunFolder(trained).sampled()
    chosen = [entries[0], entries[(len(entries) - 1) // 2], entries[-1]]
    for place, sentence in enumerate(material.samples):
        said = {entry["step"]: entry["sentences"][place]["translation"] for entry in chosen}
        assert dict(sentence.said) == said
    page = render([material])
    assert page.count(f"<dt>update {entries[-1]['step']}</dt>") == len(material.samples) == 4
    assert "Validation sentences" not in render([replace(material, samples=[])])


def test_damaged_samples_are_left_out() -> None:
    """Lines of another form are passed over; there may be none."""
    sentence = {"source": "a", "reference": "b", "translation": "c"}
    whole = {"step": 3, "sentences": [sentence]}
    assert sampled([]) == []
    assert sampled([{"step": 1}, {"step": 2, "sentences": 7}, whole]) == [Sampled("a", "b", [(3, "c")])]


@pytest.mark.slow
def test_a_planted_leak_is_shown(material: RunMaterial) -> None:
    """In the page, with its count; without one the page says so."""
    leak = {**material.data["found_in_train"][0], "testset": "planted", "pairs_normalised": 7}
    planted = replace(material, data=material.data | {"found_in_train": [leak]})
    assert "7 pairs of the test sets stand in the training data: the scores above profit" in render([planted])
    assert "No pair of a test set stands in the training data." in render(
        [replace(material, data=material.data | {"found_in_train": []})]
    )


@pytest.mark.slow
def test_each_corpus_of_the_page_says_what_it_held(material: RunMaterial) -> None:
    """Runs of one corpus share a section; another corpus has its own, with its own leaks."""
    assert render([material, replace(material, name="again")]).count("<h2>Data") == 1
    leak = {**material.data["found_in_train"][0], "testset": "test", "pairs_normalised": 7}
    data = {**material.data, "fingerprint": "other", "found_in_train": [leak], "leaks_dropped": False}
    page = render([material, replace(material, name="second", data=data)])
    assert page.index("Data: trained") < page.index("Data: second") < page.index("7 pairs of the test sets stand in")


class _Corpus:
    """Test sets by name."""

    def __init__(self, **testsets: str) -> None:
        self._found = {name: TestSet(name, [text], [text]) for name, text in testsets.items()}

    def testsets(self) -> list[str]:
        """As of a prepared corpus."""
        return sorted(self._found)

    def testset(self, name: str) -> TestSet:
        """As of a prepared corpus."""
        return self._found[name]


def test_runs_are_shown_on_the_test_sets_that_they_share() -> None:
    """By name, of the same sentences; with no other, the validation set."""
    shared: Any = _shared_testsets
    one, more = _Corpus(valid="v", test="t"), _Corpus(valid="v", extra="e", test="t")
    assert shared({"one": one, "more": more}) == shared({"more": more, "one": one}) == ["test"]
    assert shared({"more": more}) == ["extra", "test"]
    assert shared({"one": one, "bare": _Corpus(valid="v")}) == ["valid"]
    with pytest.raises(ConfigError, match="test of one and of other hold other sentences"):
        shared({"one": one, "other": _Corpus(valid="v", test="u")})


def test_the_command_writes_the_page(trained: Path, tmp_path: Path) -> None:
    """The report command writes a valid page, whose script runs without errors in a browser."""
    shown = run("report", trained, "-o", tmp_path / "page.html", "--device", "cpu")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.strip() == str(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return
    # The script has run if the first piece of each translation is chosen and curves are drawn; errors would be CONSOLE lines.
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=2000"]
    command = [browser, *options, "--dump-dom", f"file://{tmp_path / 'page.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count('class="piece chosen"') == page.count('class="attention"') > 0
    assert done.stdout.count("<polyline") >= page.count("data-chart='{") > 0


def test_what_cannot_be_a_page_is_refused_before_it_is_translated(trained: Path, tmp_path: Path) -> None:
    """Unsuitable runs or outputs end the report command before any translation begins."""
    shutil.copytree(trained / "model", tmp_path / "bare")
    cases = [
        ((trained, tmp_path / "bare"), "bare: no log.jsonl; a report is made of run folders"),
        ((trained, trained), "a run is named twice"),
        ((trained, "-o", tmp_path), "--output"),  # click's box breaks its words between lines
    ]
    for arguments, message in cases:
        refused = run("report", *arguments, "--device", "cpu")
        assert refused.exit_code > 0
        assert message in refused.stderr
        assert "translating" not in refused.stderr


@pytest.mark.slow
def test_runs_of_one_name_are_told_apart_and_one_may_be_under_way(prepared: Prepared, tmp_path: Path) -> None:
    """By the folders that they lie in; a line of the log that is being written is left out."""
    (tmp_path / "one/run").mkdir(parents=True)
    Trainer(make_recipe(training={"updates": 2}), prepared, tmp_path / "one/run", torch.device("cpu")).run()
    shutil.copytree(tmp_path / "one/run", tmp_path / "two/run")
    for name in ("one", "two"):
        with (tmp_path / name / "run" / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write('{"kind": "tra')
    runs = (tmp_path / name / "run" for name in ("one", "two"))
    shown = run("report", *runs, "-o", tmp_path / "page.html", "--device", "cpu")
    assert shown.exit_code == 0, shown.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Translations: one/run" in page
    assert "Translations: two/run" in page


def test_examples_of_dropped_pairs_are_shown_as_text() -> None:
    """With their reason, and never as markup; nothing is shown where nothing was dropped."""
    parts: Any = templating._templates().get_template("parts.html").module
    data = {"source": "de", "target": "ar"}
    shown = parts.dropped({"markup": [["<b>Hund</b>", "dog"]], "empty": [["", "a"]]}, data)
    assert '<td class="text">markup</td><td class="text" lang="de" dir="auto">&lt;b&gt;Hund&lt;/b&gt;</td>' in shown
    assert '<td class="text" lang="ar" dir="auto">dog</td>' in shown
    assert parts.dropped({}, data).strip() == ""


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [("the dog sleeps here", "the cat sleeps"), ("狗在睡觉", "猫在睡觉 now"), ("a", ""), ("x y", "x y")],
)
def test_differences_say_the_text_as_it_is(reference: str, hypothesis: str) -> None:
    """With spaces between words alone, and none between letters of a script without spaces."""
    for text, parts in zip((reference, hypothesis), _differences(Example("", reference, hypothesis)), strict=True):
        assert "".join(part for _, part in parts) == text
        assert all(tag == "" for tag, part in parts if part == " ")
