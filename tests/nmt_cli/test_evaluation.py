"""What `nmt` prints about systems is what sacreBLEU's own command prints, and what was expected is checked."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.dataset import DATASETS
from sacrebleu.dataset.base import Dataset

from command import run
from nmt.config.reading import recipe_to_toml
from nmt.corpus.lines import read_lines, write_lines
from nmt.translation.translator import Translator
from nmt_cli import tune
from nmt_data.synthetic import phrasebook
from tiny import make_recipe

SACREBLEU = [sys.executable, "-m", "sacrebleu"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Sources, references and the translations of two systems that differ here and there."""
    generator = random.Random(3)
    pairs = list(phrasebook.split("test"))[:80]

    def worse(line: str, share: float) -> str:
        return " ".join("thing" if generator.random() < share else word for word in line.split())

    texts = {
        "source": [source for source, _ in pairs],
        "reference": [target for _, target in pairs],
        "one": [worse(target, 0.3) for _, target in pairs],
        "two": [worse(target, 0.2) for _, target in pairs],
    }
    for name, lines in texts.items():
        write_lines(tmp_path / name, lines)
    return {name: tmp_path / name for name in texts}


def _sacrebleu(*arguments: str | Path) -> str:
    command = [*SACREBLEU, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("test", ["bs", "ar"])
def test_paired_tests_are_sacrebleus(files: dict[str, Path], tmp_path: Path, test: str) -> None:
    """Scores and p-values, to the digits that its command prints."""
    testset = f"{files['source']}:{files['reference']}"
    shown = run("compare", files["one"], files["two"], "-t", testset, "--test", test, "--save", tmp_path / "a/x.json")
    assert shown.exit_code == 0, shown.stderr
    ours = json.loads((tmp_path / "a/x.json").read_text())["paired_tests"]["source"]
    systems = (files["one"], files["two"])
    options = ("-m", "bleu", "chrf", "ter", f"--paired-{test}", "--format", "text", "-w", "4")
    theirs = _sacrebleu(files["reference"], "-i", *systems, *options)
    rows = [re.findall(r"[│|] +([\d.]+) ", line) for line in theirs.splitlines()]
    scores = [list(map(float, row)) for row in rows if len(row) == 3]
    chances = [list(map(float, found)) for line in theirs.splitlines() if (found := re.findall(r"p = ([\d.]+)", line))]
    for index, name in enumerate(("one", "two")):
        found = [item for item in ours if item["system"] == name]
        assert [item["score"] for item in found] == pytest.approx(scores[index], abs=1e-4)
    assert [item["p_value"] for item in ours if item["system"] == "two"] == pytest.approx(chances[0], abs=1e-4)
    assert "two is better than one by most" in shown.stdout


@pytest.mark.parametrize("test", ["bs", "ar"])
def test_equal_systems_have_no_verdict(files: dict[str, Path], tmp_path: Path, test: str) -> None:
    """Nor is one that differs in a line more than chance, which is said."""
    lines = read_lines(files["one"])
    write_lines(tmp_path / "same", lines)
    write_lines(tmp_path / "almost", [*lines[:-1], "x"])
    systems = (files["one"], tmp_path / "same", tmp_path / "almost")
    testset, saved = f"{files['source']}:{files['reference']}", tmp_path / "saved.json"
    shown = run("compare", *systems, "-t", testset, "--test", test, "--save", saved)
    verdicts = re.findall(r"^ (same|almost) +\w+ .* (equal|significant|could be chance) *$", shown.stdout, re.M)
    assert verdicts == [("same", "equal"), ("almost", "could be chance")] * 3
    assert "Where fewer than 6 lines differ, that could be chance whatever p is." in shown.stdout
    assert re.findall(r"^ same +(\w+) ", shown.stdout, re.M)[-3:] == ["BLEU", "chrF2", "TER"]
    tests = json.loads(saved.read_text())["paired_tests"]["source"]
    assert [item["metric"] for item in tests if item["system"] == "same"] == ["bleu", "chrf2", "ter"]


@pytest.mark.parametrize("tokenize", ["none", "13a"])
def test_a_score_is_sacrebleus(files: dict[str, Path], tmp_path: Path, tokenize: str) -> None:
    """Of a file of translations, with the tokenisation asked for."""
    shown = run("compare", files["one"], "-t", f"{files['source']}:{files['reference']}", "--tokenize", tokenize)
    found = re.search(r"one +(\d+\.\d) \[", shown.stdout)
    theirs = _sacrebleu(files["reference"], "-i", files["one"], "-m", "bleu", "--tokenize", tokenize, "-b")
    assert found
    assert found[1] == theirs.strip()


def test_systems_of_the_same_name_are_told_apart(files: dict[str, Path], tmp_path: Path) -> None:
    """By the folder before; the same system twice is refused."""
    for name in ("one", "two"):
        (tmp_path / name[0]).mkdir()
        shutil.copy(files[name], tmp_path / name[0] / "hypothesis")
    testset = f"{files['source']}:{files['reference']}"
    shown = run("compare", tmp_path / "o/hypothesis", tmp_path / "t/hypothesis", "-t", testset, "--test", "none")
    assert "o/hypothesis" in shown.stdout
    assert "t/hypothesis" in shown.stdout
    twice = run("compare", files["one"], files["one"], "-t", testset)
    assert (twice.exit_code, "a system is compared with itself" in twice.stderr) == (1, True)


def test_test_sets_of_one_file_name_keep_their_own_translations(trained: Path, tmp_path: Path) -> None:
    """Folders tell them apart; what cannot be told apart is refused before it is translated."""
    pairs = list(phrasebook.split("test"))
    for year, chosen in (("2016", pairs[:3]), ("2017", pairs[3:8])):
        (tmp_path / year).mkdir()
        write_lines(tmp_path / year / "test.de", [source for source, _ in chosen])
        write_lines(tmp_path / year / "test.en", [target for _, target in chosen])
    names = [f"{tmp_path / year}/test.de:{tmp_path / year}/test.en" for year in ("2016", "2017")]
    options = [part for name in names for part in ("-t", name)]
    done = run("evaluate", trained, *options, "--beam", "1", "--save", tmp_path / "saved", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    saved = {path.name: len(read_lines(path)) for path in (tmp_path / "saved").glob("*.hypothesis")}
    assert saved == {"2016-test.hypothesis": 3, "2017-test.hypothesis": 5}
    for system in (trained, tmp_path / "2016/test.en"):  # a model, and translations, which have no corpus
        twice = run("compare", system, "-t", names[0], "-t", names[0])
        assert (twice.exit_code, "two test sets are called test: give each once" in twice.stderr) == (1, True)


def test_a_file_in_the_place_of_a_folder_is_refused_before_any_work(trained: Path, tmp_path: Path) -> None:
    """Options that need a folder refuse an existing file with exit code 2, leaving it untouched."""
    (tmp_path / "file").touch()
    commands = [
        ("evaluate", trained, "--save"),
        ("attend", trained, "--plot"),
        ("train", trained / "recipe.toml", "--run"),
        ("reproduce", trained, "--run"),
        ("study", tmp_path, "--runs"),
        ("study", tmp_path, "--output"),
        ("bootstrap", tmp_path, "--runs"),
    ]
    for command in commands:
        refused = run(*command, tmp_path / "file")
        assert refused.exit_code == 2, command
        assert command[-1] in refused.stderr
    assert (tmp_path / "file").read_bytes() == b""


def test_a_test_set_from_the_cache_of_sacrebleu(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, for the model's languages; what is missing, in whole or in part, is one line."""

    def refuse(dataset: Dataset) -> None:
        raise OSError(f"no network for {dataset.name}")

    monkeypatch.setattr(Dataset, "maybe_download", refuse)
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    for name in ("wmt14", "wmt20/tworefs"):
        monkeypatch.setattr(DATASETS[name], "_outdir", str(tmp_path / name))
        (tmp_path / name).mkdir(parents=True)
        for field in DATASETS[name].fieldnames("de-en"):
            absent = run("evaluate", trained, "-t", name)
            wanted = f"sacrebleu --test-set {name} --language-pair de-en"
            assert (absent.exit_code, wanted in absent.stderr) == (1, True)
            path = f"{name}/{name.replace('/', '_')}.de-en.{field.replace(':', '-')}"
            write_lines(tmp_path / path, ["der Hund schläft ."] * 2)
    found = run("evaluate", trained, "-t", "wmt14", "--beam", "1", "--device", "cpu")
    assert found.exit_code == 0, found.stderr
    assert "wmt14: 2 sentences" in found.stdout
    several = run("evaluate", trained, "-t", "wmt20/tworefs")
    assert (several.exit_code, "has 2 references" in several.stderr) == (1, True)
    missing = run("evaluate", trained, "-t", "mtnt2019")
    assert (missing.exit_code, "sacreBLEU's test set mtnt2019 is not for de-en" in missing.stderr) == (1, True)
    unknown = run("evaluate", trained, "-t", "wmt")
    assert (unknown.exit_code, "no test set wmt; this corpus has" in unknown.stderr) == (1, True)


def test_files_without_a_test_set_are_refused(files: dict[str, Path]) -> None:
    """Comparing files requires a test set, existing systems and a known significance test."""
    refused = run("compare", files["one"], files["two"])
    assert (refused.exit_code, "name a test set as SOURCE:REFERENCE" in refused.stderr) == (1, True)
    absent = run("compare", files["one"], "absent", "-t", "a:b")
    assert (absent.exit_code, "absent: no such file or folder" in absent.stderr) == (1, True)
    wrong = run("compare", files["one"], "--test", "t", "-t", "a:b")
    assert (wrong.exit_code, "--test must be bs, ar or none, got t" in wrong.stderr) == (1, True)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A folder with a recipe that trains in a moment."""
    folder = tmp_path / "recipes" / "tiny"
    folder.mkdir(parents=True)
    letters = Path(__file__).parents[1] / "data"
    card = (letters / "letters.toml").read_text() + 'test = "valid.{language}"\n'
    (tmp_path / "letters.toml").write_text(card)
    for path in letters.glob("*.*put"):
        shutil.copy(path, tmp_path)
    data = {"corpus": str(tmp_path / "letters.toml")}
    recipe = make_recipe(data=data, training={"updates": 2, "validate_every": 1})
    (folder / "recipe.toml").write_text(recipe_to_toml(recipe))
    return folder


def _expect(folder: Path, mean: float, signature: str = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp") -> None:
    expected = {"testset": "test", "signature": signature, "mean": mean, "band": 0.5, "origin": "a test"}
    (folder / "expected.json").write_text(json.dumps([expected]))


def _record(folder: Path, value: float) -> None:
    folder.mkdir(exist_ok=True)
    signature = "nrefs:1|bs:1000|seed:1|case:mixed|eff:no|tok:13a|smooth:exp"
    score = {"metric": "bleu", "value": value, "signature": signature}
    (folder / "result.json").write_text(json.dumps({"evaluations": [{"testset": "test", "scores": [score]}]}))


@pytest.mark.slow
def test_reproduce_passes_or_fails_against_the_band(recipe: Path, tmp_path: Path) -> None:
    """Exit code 0 at the band or above, 1 below; a finished run is not trained again."""
    arguments = ("reproduce", recipe, "--run", tmp_path / "run", "--device", "cpu", "--check")
    nothing = run(*arguments)
    assert (nothing.exit_code, "nothing is expected of this recipe" in nothing.stderr) == (1, True)
    _expect(recipe, 0.4)
    passed = run(*arguments)
    assert passed.exit_code == 0, passed.stderr
    assert " met " in passed.stdout
    result = json.loads((tmp_path / "run/results/result.json").read_text())
    assert {"device", "versions", "seed", "evaluations"} <= result.keys()
    _expect(recipe, 99.0)
    failed = run(*arguments)
    assert failed.exit_code == 1
    assert "missed" in failed.stdout
    assert run(*arguments[:-1]).exit_code == 0
    _expect(recipe, 0.4, "nrefs:1|tok:zh")
    wrong = run(*arguments)
    assert (wrong.exit_code, "no score on test has the signature" in wrong.stderr) == (1, True)


def test_recipes_are_listed_with_their_state(recipe: Path) -> None:
    """Not yet run, expected, reproduced, or below, as the mean over the seeds."""

    def state() -> str:
        return run("recipes", "--folder", recipe.parent).stdout

    assert "not yet run" in state()
    _expect(recipe, 30)
    assert "expected from the literature" in state()
    _record(recipe, 29.6)
    assert "reproduced here" in state()
    _record(recipe / "seed2", 29.2)
    assert "below what is expected, 2 seeds" in state()
    _record(recipe / "seed3", 29.8)
    assert "reproduced here, 3 seeds" in state()
    _expect(recipe, 31)
    assert "below what is expected, 3 seeds" in state()
    (recipe / "expected.json").write_text('[{"testset": "test"}]')
    wrong = run("recipes", "--folder", recipe.parent)
    assert (wrong.exit_code, "expected.json: 0.signature" in wrong.stderr) == (1, True)


def test_tune_decoding_finds_the_best_of_what_it_tries(trained: Path) -> None:
    """One row a setting; the best has the highest BLEU; what is not a number is refused."""
    arguments = ("tune-decoding", trained, "--beams", "1,2", "--alphas", "0,1", "--sentences", "30")
    shown = run(*arguments, "--json")
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert [(row["beam"], row["alpha"]) for row in found["tried"]] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert found["best"]["bleu"] == max(row["bleu"] for row in found["tried"])
    table = run(*arguments).stdout
    assert "best: --beam" in table
    assert table.count(f"BLEU: {found['signature']}\n") == 1
    assert found["signature"].startswith("nrefs:1|case:mixed|")
    late = run("tune-decoding", trained, "--alphas", "1,20")
    assert (late.exit_code, "alpha: input should be less than or equal to 10" in late.stderr.lower()) == (1, True)
    assert "BLEU" not in late.stderr  # nothing was translated before
    wrong = run("tune-decoding", trained, "--alphas", "high")
    assert (wrong.exit_code, "--alphas must be numbers with commas between them" in wrong.stderr) == (1, True)


def test_alphas_are_not_tried_where_no_length_penalty_uses_them(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would be the same search again."""
    opened = tune.open_translator
    monkeypatch.setattr(tune, "open_translator", lambda *given: opened(*given).with_search(length_penalty="none"))
    arguments = ("tune-decoding", trained, "--beams", "1,2", "--alphas", "0,1", "--sentences", "4", "--json")
    shown = run(*arguments)
    assert [(row["beam"], row["alpha"]) for row in json.loads(shown.stdout)["tried"]] == [(1, 0), (2, 0)]
    assert "length_penalty is none" in shown.stderr


def test_attend_shows_links_pictures_and_error_rates(trained: Path, tmp_path: Path) -> None:
    """A line for each line in every format, a picture in both formats, and a table against gold links."""
    write_lines(tmp_path / "source", ["der Hund schläft .", "", "ein Mann sieht den Hund ."])
    shown = run("attend", trained, tmp_path / "source", "--plot", tmp_path / "plots")
    assert shown.exit_code == 0, shown.output
    assert "\u250c\u2500 Hund" in shown.stdout
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["1.png", "1.svg", "3.png", "3.svg"]
    links = run("attend", trained, tmp_path / "source", "--format", "pharaoh").stdout.split("\n")
    assert len(links) == 4
    assert links[1] == ""
    assert re.fullmatch(r"(\d+-\d+ ?)+", links[0])
    rows = run("attend", trained, tmp_path / "source", "--format", "json").stdout.splitlines()
    assert json.loads(rows[0])["source"] == ["der", "Hund", "schläft", "."]
    assert re.fullmatch(
        r"\d\.\d\d\n\n\n\d\.\d\d\n",
        run("attend", trained, tmp_path / "source", "--format", "entropy").stdout.strip("\n") + "\n",
    )
    write_lines(tmp_path / "pairs", ["der Hund schläft . ||| the dog sleeps .", "ein Mann ||| a man"])
    write_lines(tmp_path / "gold", ["1-1 2-2 3-3 4-4", "1-1 2p2"])
    table = run("attend", trained, "--pairs", tmp_path / "pairs", "--gold", tmp_path / "gold", "--reverse", trained)
    assert table.exit_code == 0, table.output
    assert re.search(r"diagonal +0\.0 +100\.0 +100\.0", table.stdout)
    assert re.search(r"both models, shifted, grow-diag +\d", table.stdout)
    gold = ("--pairs", tmp_path / "pairs", "--gold", tmp_path / "gold")
    assert re.search(
        r"layer 1, head 1, shifted, each target word +\d", run("attend", trained, *gold, "--head", "1").stdout
    )
    assert "head must be between 1 and 1, got 7" in run("attend", trained, *gold, "--head", "7").output


def test_a_language_that_the_model_does_not_have_is_refused(trained: Path, tmp_path: Path) -> None:
    """By every verb that puts the tag before a line."""
    write_lines(tmp_path / "lines", ["ein Hund"])
    both = f"{tmp_path / 'lines'}:{tmp_path / 'lines'}"
    for verb in (["score", trained, *both.split(":")], ["evaluate", trained, "-t", both], ["attend", trained]):
        assert "translates into en, not into fr" in run(*verb, "--to", "fr", stdin=b"ein Hund\n").output


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_nothing_to_measure_is_one_line(trained: Path, tmp_path: Path, text: str) -> None:
    """No verb counts or scores files without a word as a result, and none ends with a traceback."""
    empty, gold, pairs = (tmp_path / name for name in ("empty", "gold", "pairs"))
    for path in (empty, gold, pairs):
        path.write_text(text)
    both = f"{empty}:{gold}"
    for arguments in (
        ("attend", trained, "--pairs", pairs, "--gold", gold),
        ("attend", trained, empty, "--target", pairs, "--gold", gold),
        ("evaluate", trained, "--testset", both),
        ("compare", trained, empty, "--testset", both),
        ("tune-decoding", trained, "--testset", both),
        ("bench", "decode", trained, "--text", empty),
    ):
        result = run(*arguments)
        assert (result.exit_code, isinstance(result.exception, SystemExit)) == (1, True), (arguments, result.exception)
        assert re.search("no sentence|nothing to score|no words|no ` ", result.stderr), (arguments, result.stderr)


def test_attend_goes_on_after_an_empty_translation(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty translation gives a warning and a blank line, and the next sentence is aligned."""
    monkeypatch.setattr(Translator, "translate", lambda _, lines: ["" if line == "ein" else "a dog" for line in lines])
    shown = run("attend", trained, "--format", "pharaoh", stdin=b"ein\nein Hund\n")
    assert shown.exit_code == 0
    assert "line 1: attention needs words on both sides" in shown.stderr
    empty, links, _ = shown.stdout.split("\n")
    assert (empty, links != "") == ("", True)


def test_attend_keeps_the_line_of_a_pair_with_an_empty_side(trained: Path, tmp_path: Path) -> None:
    """With or without the space that an editor may take from the end of the line."""
    write_lines(tmp_path / "pairs", ["ein Hund |||", "ein Hund ||| ", "||| a dog", "ein Hund ||| a dog"])
    shown = run("attend", trained, "--pairs", tmp_path / "pairs", "--format", "pharaoh")
    assert [bool(line) for line in shown.stdout.splitlines()] == [False, False, False, True], shown.output


def test_settings_of_search_are_refused_where_nothing_is_translated(trained: Path, tmp_path: Path) -> None:
    """They would change nothing, though they are in the command that a paper cites."""
    write_lines(tmp_path / "lines", ["ein Hund"])
    both = f"{tmp_path / 'lines'}:{tmp_path / 'lines'}"
    given = ("evaluate", trained, "-t", both, "--hypothesis", tmp_path / "lines")
    for arguments in (
        (*given, "--beam", "3"),
        (*given, "--batch-size", "3"),
        ("compare", tmp_path / "lines", "-t", both, "--beam", "3"),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "is for translating" in result.stderr


def test_attend_refuses_what_it_cannot_show(trained: Path, tmp_path: Path) -> None:
    """One line that says what to do."""
    write_lines(tmp_path / "pairs", ["ein Hund a dog"])
    write_lines(tmp_path / "gold", ["1-1"])
    for arguments, message in (
        (["--format", "picture"], "--format must be blocks, pharaoh, json or entropy, got picture"),
        (["--gold", tmp_path / "gold"], "--gold needs the sentences that were linked"),
        (["--pairs", tmp_path / "pairs"], "no ` ||| ` between source and target"),
        (["--target", tmp_path / "gold"], "--target needs FILE"),
    ):
        result = run("attend", trained, *arguments)
        assert result.exit_code == 1
        assert message in result.output
    write_lines(tmp_path / "pairs", ["ein Hund ||| a dog", "ein Mann ||| a man"])
    write_lines(tmp_path / "gold", ["1-1 2-2", "1-1 3p2"])
    result = run("attend", trained, "--pairs", tmp_path / "pairs", "--gold", tmp_path / "gold")
    assert "gold, line 2: 3-2 links words of 2 in the source and 2 in the target" in result.output
    result = run("attend", trained, "--layer", "2", stdin=b"ein Hund\n")
    assert "layer must be between 1 and 1, got 2" in result.output
    (tmp_path / "linked").write_text("ein Hund ||| a dog\n")
    (tmp_path / "links").write_text("1-1 2-2\n")
    for name in ("layer", "head"):
        for options in ([], ["--gold", tmp_path / "links"]):
            result = run("attend", trained, "--pairs", tmp_path / "linked", f"--{name}", "0", *options)
            assert result.exit_code == 1
            assert f"{name} must be between 1 and " in result.output
        result = run("attend", trained, "--format", "entropy", f"--{name}", "0", stdin=b"ein Hund\n")
        assert "leave --layer and --head out" in result.output


def test_comet_comes_from_the_users_own_command(trained: Path, tmp_path: Path) -> None:
    """The command sees sources, translations and references; what it prints as the system's score is shown."""
    script = tmp_path / "comet-score"
    script.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "files = [open(sys.argv[sys.argv.index(flag) + 1]).read().splitlines() for flag in ('-s', '-t', '-r')]\n"
        "assert len(set(map(len, files))) == 1\nprint('score: 0.8512')\n"
    )
    script.chmod(0o755)
    result = run("evaluate", trained, "--testset", "valid", "--beam", "1", "--comet", script)
    assert result.exit_code == 0, result.output
    assert re.search(r"comet +85\.12 +nrefs:1\|model:Unbabel/wmt22-comet-da", result.stdout)
    script.write_text("#!/bin/sh\necho no such model >&2; exit 1\n")
    kept = tmp_path / "kept"
    failed = run("evaluate", trained, "--testset", "valid", "--beam", "1", "--comet", script, "--save", kept)
    assert failed.exit_code == 1
    assert "gave no score: no such model" in failed.output
    assert "BLEU" in failed.stdout
    assert {"result.json", "valid.hypothesis"} <= {path.name for path in kept.iterdir()}
    missing = run("evaluate", trained, "--testset", "valid", "--beam", "1", "--comet", tmp_path / "nothing")
    assert "the command comet-score, whose path" in missing.output
    assert missing.stdout == ""


def test_every_score_has_an_interval(trained: Path, tmp_path: Path) -> None:
    """And its signature, also where all resamples score alike; blank references are refused, for their error rate is zero."""
    (tmp_path / "in").write_text("Der Hund.\n", encoding="utf-8")
    (tmp_path / "right").write_text("The dog.\n", encoding="utf-8")
    (tmp_path / "blank").write_text(" \n", encoding="utf-8")
    arguments = ("evaluate", trained, "--hypothesis", tmp_path / "right", "--testset")
    table = run(*arguments, f"{tmp_path / 'in'}:{tmp_path / 'right'}").stdout
    assert "[100.00, 100.00]" in table
    assert "[0.00, 0.00]" in table
    assert table.count("nrefs:1|") == 3
    other = tmp_path / "other"
    other.write_text("The dog.\n", encoding="utf-8")
    compared = run(
        "compare", tmp_path / "right", other, "-t", f"{tmp_path / 'in'}:{tmp_path / 'right'}", "--test", "none"
    )
    assert len(re.findall(r"\d \[\d+\.\d, \d+\.\d\]", compared.stdout)) == 2 * 3
    assert compared.stdout.count("nrefs:1|") == 3
    refused = run(*arguments, f"{tmp_path / 'in'}:{tmp_path / 'blank'}")
    assert (refused.exit_code, "are blank" in refused.stderr) == (1, True)
