"""The public interface is what it says, and each part of it is described."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import nmt
from command import environment
from tiny import make_recipe

PUBLIC = [
    *("Attention", "CheckpointError", "ConfigError", "DataError", "Evaluation", "Interrupted", "NmtError", "Options"),
    *("Prepared", "Recipe", "Report", "SamplingConfig", "Score", "TargetScore", "TestSet", "TextError", "Translation"),
    *("Translator", "__version__", "attend", "evaluate", "load", "load_recipe", "prepare", "score", "train"),
]


def test_what_is_exported() -> None:
    """Neither more nor less; a name is added or taken on purpose."""
    assert nmt.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(nmt))
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = nmt.other  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_each_is_described(name: str) -> None:
    """Functions with their arguments, and what they raise."""
    part = getattr(nmt, name)
    assert part.__doc__
    if inspect.isfunction(part):
        assert "Args:" in part.__doc__
        assert "Raises:" in part.__doc__
        for argument in inspect.signature(part).parameters:
            assert f"        {argument}:" in part.__doc__, argument


def test_what_is_returned_and_raised_is_public_too() -> None:
    """Names of our own in annotations, in what is returned, and in the errors that docstrings name."""
    parts = [getattr(nmt, name) for name in PUBLIC if name != "__version__"]
    methods = [part for owner in (nmt.Translator, nmt.TestSet) for name, part in vars(owner).items() if name[0] != "_"]
    for part in filter(inspect.isfunction, [*parts, *methods]):
        returned = re.findall(r"\b[A-Z]\w+", str(inspect.signature(part).return_annotation))
        raised = re.findall(r"^        (\w+): ", (part.__doc__ or "").partition("Raises:")[2], re.M)
        assert {*returned, *raised} <= {*PUBLIC, "Path", "None"}, part


def test_importing_it_is_quick() -> None:
    """Torch comes with what needs it."""
    script = "import nmt, sys; sys.exit(bool({'torch', 'pydantic', 'nmt_data'} & {*sys.modules}))"
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)


def test_a_recipe_is_trained_and_translates(tmp_path: Path) -> None:
    """By the public names alone."""
    recipe = make_recipe(training={"updates": 2})
    model = nmt.train(recipe, nmt.prepare(recipe), tmp_path / "run", device="cpu")
    translator = nmt.load(model, device="cpu", beam=2)
    testset = nmt.TestSet("letters", ["a b"], ["b a"])
    assert nmt.evaluate(translator, testset, metrics=("bleu",)).hypotheses == translator.translate(["a b"])
    assert nmt.attend(translator, ["a b"], "b a").target == ["b", "a"]  # type: ignore[arg-type]
    with pytest.raises(nmt.NmtError, match="one sentence"):
        nmt.attend(translator, ["a", "b"], "b a")  # type: ignore[arg-type]
    assert nmt.score(["b a"], ["b a"], metrics=("chrf2",))[0].value == pytest.approx(100)


def test_what_a_translation_can_be_asked_for_is_public(trained: Path) -> None:
    """Draws, phrases, precision and models that vote, as `nmt translate` has them."""
    line, draws = "Der Hund schläft.", nmt.Options(sampling=nmt.SamplingConfig(temperature=2.0, seed=3))
    drawn = nmt.load(trained, "cpu", draws, beam=4)
    assert len(set(drawn.translate(line, n_best=4))) > 1
    assert drawn.translate(line, n_best=4) == nmt.load(trained, "cpu", draws, beam=4).translate(line, n_best=4)
    voting = nmt.load(trained, "cpu", precision="fp32", ensemble=[trained])
    assert "2 models" in repr(voting)
    free = voting.translate(line)
    said = free.split()[-1].strip(".")
    assert said not in nmt.load(trained, "cpu", nmt.Options(forbidden=[said])).translate(line).split()


RECIPE = "recipes/phrasebook-attention"
PAIR = ["a b"], ["b a"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nmt.score(*PAIR, metrics=["blue"]), r"got blue \(did you mean bleu\?\)"),  # type: ignore[list-item]
        (lambda: nmt.score(*PAIR, tokenize="zhh"), r"got zhh \(did you mean zh\?\)"),  # type: ignore[arg-type]
        (lambda: nmt.score(*PAIR, resamples=0), "resamples must be at least 1"),
        (lambda: nmt.score([["a"]], ["a"]), "number 0 is list"),  # type: ignore[list-item]
        (lambda: nmt.score("a", ["a", "b"]), "1 translations but 2 references"),
        (lambda: nmt.load_recipe(RECIPE, "seed=3"), "must be a list of key=value"),
        (lambda: nmt.load_recipe(RECIPE, {"seed": 3}), "must be a list of key=value"),  # type: ignore[arg-type]
        (lambda: nmt.load_recipe(RECIPE, [3]), "must be a list of key=value"),  # type: ignore[list-item]
        (lambda: nmt.load("none", precision="fp8"), "precision must be"),
        (lambda: nmt.Options(forbidden="dog"), "forbidden must be a list of phrases, got 'dog'"),
        (lambda: nmt.Options(mbr="bleu"), "mbr chooses among draws"),
        (lambda: nmt.load("x", "cpu", precision="int4"), "precision must be .*, got int4"),
        (lambda: nmt.load("x", ensemble="y"), "ensemble must be a list of paths, got 'y'"),
        (lambda: nmt.Options(mbr="ter"), "mbr must be one of chrf2, bleu, got ter"),  # type: ignore[arg-type]
        (lambda: nmt.Options(long_lines="drop"), "long_lines must be one of cut, split"),  # type: ignore[arg-type]
        (lambda: nmt.load("none", device="gpu"), "device must be auto, cpu"),
        (lambda: nmt.TestSet.read("t", "none.de", "none.en"), "none.de"),
        (lambda: nmt.TestSet.load("none", "t"), "t.source"),
        (lambda: nmt.evaluate("a", nmt.TestSet("t", "a", "a")), "must be a list of lines"),  # type: ignore[arg-type]
        (lambda: nmt.evaluate("a", nmt.TestSet("t", ["a", "b"], ["a"])), "2 lines but the target of t has 1"),
        (lambda: nmt.evaluate("a", nmt.TestSet("t", ["a"], ["a"], languages=["x", "y"])), "1 lines but 2 languages"),
        (lambda: nmt.evaluate([], nmt.TestSet("t", [], [])), "empty"),
        (lambda: nmt.evaluate("a", nmt.TestSet("t", ["a"], ["a"]), metrics=["blue"]), "did you mean bleu"),  # type: ignore[list-item]
        (lambda: nmt.evaluate("a", nmt.TestSet("t", ["a"], ["a"], "y")), "tokenize must be"),  # type: ignore[arg-type]
    ],
)
def test_what_a_user_can_mend_is_said_in_a_line(call: Callable[[], object], words: str) -> None:
    """Each public function refuses what it cannot use by an NmtError."""
    with pytest.raises(nmt.NmtError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_one_text_is_one_sentence_everywhere(tmp_path: Path) -> None:
    """A text is never taken letter by letter, one metric needs no list, and a path may be text."""
    testset = nmt.TestSet("t", ["a b"], ["b a"])
    assert nmt.score("b a", "b c", metrics="ter") == nmt.score(["b a"], ["b c"], metrics=["ter"])
    assert nmt.evaluate("b a", testset, training="a b", metrics="ter") == nmt.evaluate(
        ["b a"], testset, training=["a b"], metrics=["ter"]
    )
    testset.write(str(tmp_path))
    assert nmt.TestSet.load(str(tmp_path), "t") == testset
    assert nmt.TestSet.read("t", f"{tmp_path}/t.source", f"{tmp_path}/t.target") == testset


def test_a_training_may_run_in_another_thread(tmp_path: Path) -> None:
    """Signals then do not stop it, and nothing else is different."""
    recipe = make_recipe(training={"updates": 1})
    with ThreadPoolExecutor(1) as pool:
        model = pool.submit(nmt.train, recipe, nmt.prepare(recipe), tmp_path / "run", device="cpu").result()
    assert nmt.load(model, device="cpu").translate("") == ""
