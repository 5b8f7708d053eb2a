"""A bootstrap makes every stage once, goes on after any end, and makes anew what has other inputs."""

from __future__ import annotations

import html
import json
import os
import random
import re
import runpy
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from command import run, start
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.corpus.tokenizer import Tokenizers
from nmt.experiments.bootstrap import load_plan
from nmt.report.stages import TREE
from nmt.storage.run_folder import RunFolder
from nmt.training.trainer import Trainer
from nmt_cli.text_files import Sink
from tiny import make_recipe

ROOT = Path(__file__).parents[2]
TAG = "<bt>"
RNN = {"kind": "rnn", "embedding": 16, "hidden": 16}
PLAN = f"""
title = "Two rounds"
[[stages]]
name = "backward"
train = "recipe.toml"
reverse = true
[[stages]]
name = "made"
translate = "text.output"
by = ["backward"]
how = "top-k"
top_k = 4
tag = "{TAG}"
[[stages]]
name = "forward"
train = "recipe.toml"
add = ["made"]
weight = 0.5
"""
FORTH = """
[[stages]]
name = "forth"
translate = "text.input"
by = ["forward", "forward"]
how = "greedy"
[[stages]]
name = "last"
train = "recipe.toml"
set = ["training.updates=3"]
initialise = "forward"
add = ["made", "forth"]
"""


class Killed(BaseException):
    """Stands for the process going away."""


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan that was done in one go: `plan` and `whole`."""
    top = tmp_path_factory.mktemp("bootstrap")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        patch.setattr("nmt_cli.translate.WINDOW", 16)
        _bootstrap(_written(top / "plan"), "--runs", "whole")
    return top


@pytest.fixture
def place(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder with the plan, beside a copy of what it made."""
    monkeypatch.chdir(tmp_path)
    for name in ("plan", "whole"):
        shutil.copytree(whole / name, name)
    return tmp_path / "plan"


def test_some_stages_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    """A stage and what it needs are made, to the same bytes as with the others; the tree shows those as still to do."""
    monkeypatch.chdir(tmp_path)
    plan = _written(tmp_path / "plan")
    _bootstrap(plan, "--runs", "runs", "--stage", "made")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()) == ["backward", "made"]
    states = json.loads((tmp_path / "runs" / TREE).read_text())["stages"]
    assert [stage["state"] for stage in states] == ["done", "done", "to do"]
    weights = Path("backward/model/weights.safetensors")
    assert (tmp_path / "runs" / weights).read_bytes() == (whole / "whole" / weights).read_bytes()
    refused = run("bootstrap", plan, "--runs", "runs", "--stage", "mad")
    assert refused.exit_code == 1
    assert "the plan has no stage 'mad' (did you mean made?)" in refused.stderr


def _written(folder: Path) -> Path:
    """Writes a recipe, a plan, and text of both languages with odd lines."""
    folder.mkdir()
    (folder / "recipe.toml").write_text(recipe_to_toml(make_recipe(RNN)))
    (folder / "bootstrap.toml").write_text(PLAN)
    generator = random.Random(3)
    lines = [" ".join(generator.choices("abcdefgh", k=generator.randint(1, 6))) for _ in range(60)]
    lines[7], lines[8], lines[20] = "", " \t", "a\u2028b \0 c\rd"
    text = "\ufeff" + "\r\n".join(lines)
    (folder / "text.output").write_bytes(text.encode())
    (folder / "text.input").write_bytes("\n".join(reversed(lines[30:])).encode())
    return folder


def _bootstrap(folder: Path, *options: str | Path) -> str:
    result = run("bootstrap", folder, *options)
    assert result.exit_code == 0, result.output
    return result.output


def _products(runs: Path) -> dict[str, bytes]:
    """What the stages made: weights, and both sides of each corpus."""
    files = [*runs.glob("*/model/weights.safetensors"), *runs.glob("*/train.*")]
    return {path.relative_to(runs).as_posix(): path.read_bytes() for path in files}


def _times(runs: Path) -> dict[str, int]:
    """When the product of each stage was made."""
    files = [*runs.glob("*/model"), *runs.glob("*/corpus.toml")]
    return {path.parent.name: path.stat().st_mtime_ns for path in files}


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode().removesuffix("\n").split("\n")


def test_a_report_shows_the_tree(place: Path, tmp_path: Path) -> None:
    """Of a bootstrap that is asked for again: each stage below the one it needs, and the curves of the trainings."""
    (Path("whole") / TREE).unlink()
    refused = run("report", "whole", "-o", "page.html")
    assert (refused.exit_code, "one folder that nmt bootstrap filled" in refused.stderr) == (1, True)
    _bootstrap(place, "--runs", "whole")
    shown = run("report", "whole", "-o", "page.html")
    assert shown.exit_code == 0, shown.stderr
    page = Path("page.html").read_text()
    assert re.search(r"backward</td>.*└ made</td>.*   └ forward</td>", page, re.DOTALL)
    assert page.count("done</td>") == 3
    assert f"tag {html.escape(TAG)}" in page
    assert page.count("data-chart='{") == 6


def test_a_plan_of_two_rounds_makes_its_corpora_and_models(place: Path) -> None:
    """No line is lost or moved; sources begin with the tag, which is one token of every model; asked again, nothing is done."""
    (place / "bootstrap.toml").write_text(PLAN + FORTH)
    shown = _bootstrap(place, "--dry-run")
    assert not Path("runs").exists()
    assert shown.count("to do") == 10  # before, and in the tree
    assert _bootstrap(place, "--dry-run", "--stage", "made").count("to do") == 4  # that stage and its need
    shown = _bootstrap(place)
    runs = Path("runs/plan")
    assert all(f"└ {name}" in shown for name in ("made", "forward", "forth", "last"))
    texts, made = _lines(runs / "made/train.output"), _lines(runs / "made/train.input")
    assert len(texts) == len(made) == 60
    assert texts[7] == made[7] == ""
    assert made[8].strip() == ""
    assert all(line.startswith(f"{TAG} ") or not line.strip() for line in made)
    assert sum(TAG in line for line in made) > 40  # so young a model says nothing at times
    forth = _lines(runs / "forth/train.input")
    assert forth[:30] == forth[30:] == _lines(place / "text.input")
    assert not any(TAG in line for line in _lines(runs / "forth/train.output"))  # though so young a model says it
    assert not any(TAG in line[4:] for line in made)
    for name in ("backward", "forward", "last"):
        assert len(Tokenizers.load(runs / name / "model").source.encode([f"{TAG} a"])[0]) == 2
    recipe = load_recipe(runs / "forward")
    assert [part.weight for part in recipe.data.more] == [0.5]
    assert (load_recipe(runs / "backward").data.source, recipe.data.source) == ("output", "input")
    times = _times(runs)
    again = _bootstrap(place)
    assert _times(runs) == times
    assert "to do" not in again
    assert again.count(" done ") == 5
    assert not list(runs.glob(".*.part"))


def test_the_short_form_is_a_plan(place: Path) -> None:
    """It names its stages by round, is written down, and can be asked again with more rounds."""
    mono = ["--mono", place / "text.output"]
    options = ["--set", "training.updates=3", "--how", "sampling"]
    _bootstrap(place, *mono, *options)
    runs = Path("runs/tiny-bootstrap")
    assert sorted(_times(runs)) == ["backward-1", "forward-1", "output-translated-1"]
    times = _times(runs)
    shown = _bootstrap(place, *mono, "--mono", place / "text.input", "--rounds", "2", *options)
    assert len(_times(runs)) == 7
    assert times.items() <= _times(runs).items()
    assert "about" in shown  # costs are known by now
    names = ["input-translated-2", "backward-2", "output-translated-2", "forward-2"]
    assert [stage.name for stage in load_plan(runs).stages][3:] == names
    again = _bootstrap(runs, "--dry-run")  # the plan holds the changes to the recipe too
    assert again.count(" done ") == 7


def test_a_plan_of_somebody_is_not_written_over(place: Path) -> None:
    """The short form names it, before any work; a plan that it has made it writes anew."""
    plan = (place / "bootstrap.toml").read_bytes()
    shown = run("bootstrap", place, "--mono", place / "text.output", "--runs", place)
    assert shown.exit_code == 1
    assert "bootstrap.toml: is no plan of --mono, which would write over it; name another --runs" in shown.output
    assert (place / "bootstrap.toml").read_bytes() == plan
    assert {path.name for path in place.iterdir()} == {"bootstrap.toml", "recipe.toml", "text.input", "text.output"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mono", "x.fr"], "--mono x.fr: name it FILE.output or FILE.input, by its language"),
        (["--mono", "text.output.txt"], "text.output.txt: name it FILE.output or FILE.input"),
        (["--mono", "x.input.output.GZ", "--mono", "y.input"], "text in input is for --rounds 2 or more"),
        (["--mono", "x.output.input"], "--rounds 1 needs --mono FILE.output, text in output"),
        (["--mono", "x.output"], "--mono x.output: there is no such file"),
        (["--mono", "x.output", "--mono", "y.output"], "is the second text in output; join the two"),
        (["--mono", "x.output", "--rounds", "2"], "--rounds 2 needs --mono FILE.input, text in input"),
        (["--mono", "x.output", "--mono", "x.input"], "text in input is for --rounds 2 or more"),
        (["--mono", "x.output", "--how", "best"], "--how must be one of beam, greedy, sampling, top-k, got best"),
        (["--mono", "x.output", "--set", "model.hiden=3"], "unknown key model.hiden (did you mean hidden?)"),
    ],
)
def test_a_wrong_short_form_is_one_line(place: Path, options: list[str], said: str) -> None:
    """Before any work."""
    result = run("bootstrap", place, *options)
    assert result.exit_code == 1
    assert said in result.output
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('by = ["backward"]', 'by = ["bakward"]', "stage made: by: no stage is called 'bakward' (did you mean backward?)"),
        ('by = ["backward"]', 'by = ["forward"]', "stage made: by: 'forward' does not come before it"),
        ('by = ["backward"]', "by = []", "stage made: by: "),
        ('add = ["made"]', 'add = ["forward"]', "stage forward: add: 'forward' does not come before it"),
        ('add = ["made"]', 'add = ["backward"]', "stage forward: add: 'backward' is no translation"),
        ('add = ["made"]\nweight = 0.5', 'initialise = "made"', "stage forward: initialise: 'made' is no training"),
        ('add = ["made"]', "", "stage forward: weight is for the corpora of add, and there are none"),
        ('"top-k"', '"sampling"', "stage made: top_k is for how = 'top-k', got 'sampling'"),
        ('how = "top-k"\ntop_k = 4', "seed = 1", "stage made: seed is for how = 'sampling' or 'top-k', got 'beam'"),
        ("top_k = 4", "topk = 4", "stage made: unknown key topk (did you mean top_k?)"),
        ('how = "top-k"', 'how = "topk"', "'sampling' or 'top-k', got 'topk' (did you mean top-k?)"),
        ("reverse = true", "how = 'beam'", "stage backward: unknown key how"),
        ('name = "forward"', 'name = "Backward"', "two stages are called Backward"),
        ('name = "forward"', 'name = "a/b"', "names files"),
        ('name = "forward"', "", "stage 3: name is missing"),
        ("weight = 0.5", "weight = 0", "stage forward: weight"),
        ("weight = 0.5", "translate = 'x'", "stage forward: needs either train = RECIPE or translate = TEXT"),
        ('title = "Two rounds"', 'title = ""\ntitel = 1', "unknown key titel (did you mean title?)"),
        ('train = "recipe.toml"\nadd', 'train = "recipes.toml"\nadd', "no such recipe (did you mean recipe.toml?)"),
        ('"text.output"', '"text.outpt"', "text.outpt: neither beside the plan nor under NMT_DATA"),
        ("reverse = true", "", "has its tag <bt> in output, which is the target here"),
        ("weight = 0.5", 'set = ["data.corpus=none.toml"]', "there is no none.toml"),
        ("weight = 0.5", 'set = ["data.corpus=phrasebook", "data.source=de", "data.target=en"]', "is output-input text, and"),
        (f'"{TAG}"', '"<s>"', "is a special token already"),
        (f'"{TAG}"', '"b t"', "stage made: tag: "),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_one_line(place: Path, old: str, new: str, said: str) -> None:
    """It names the stage and the key, before any work."""
    assert old in PLAN
    (place / "bootstrap.toml").write_text(PLAN.replace(old, new, 1))
    result = run("bootstrap", place)
    assert result.exit_code == 1, result.output
    assert said in result.output
    assert result.output.count("nmt: ") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize("option", [("--rounds", "1"), ("--how", "sampling"), ("--tag", "")])
def test_options_of_the_short_form_need_its_text(place: Path, option: tuple[str, str]) -> None:
    """A folder's plan would not heed them, so they are refused."""
    result = run("bootstrap", place, *option)
    assert result.exit_code == 1
    assert f"nmt: {option[0]} is for a plan that --mono FILE makes; in a plan of your own, its" in result.output
    assert not Path("runs").exists()


def test_a_folder_without_a_plan_and_text_that_is_none_are_refused(place: Path) -> None:
    """Bytes that are not UTF-8 are named by their line; so is an empty text."""
    assert "holds no bootstrap.toml" in run("bootstrap", place.parent).output
    for content, said in ((b"a\n\xff\n", "line 2: byte 1 (0xff) is not valid UTF-8"), (b"", "is empty")):
        (place / "text.output").write_bytes(content)
        assert said in run("bootstrap", place).output
    assert not Path("runs").exists()


def _kill_at(patch: pytest.MonkeyPatch, where: tuple[type, str], calls: int) -> None:
    """Ends the work at a call of a method: the work of the call is done, what follows is not."""
    owner, name = where
    inner, left = getattr(owner, name), [calls]

    def mortal(*arguments: Any, **keywords: Any) -> Any:
        result = inner(*arguments, **keywords)
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return result

    patch.setattr(owner, name, mortal)


_PLACES: list[tuple[tuple[type, str], int]] = [
    ((Trainer, "_step"), 4),  # within the backward model
    ((Sink, "write"), 2),  # within the translation
    ((Trainer, "_step"), 11),  # within the forward model
]


@pytest.mark.parametrize(("where", "calls"), _PLACES, ids=["backward", "translation", "forward"])
def test_killed_in_a_stage_it_ends_with_the_same_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[type, str], calls: int
) -> None:
    """What was finished is kept; the stage goes on and does not begin again."""
    monkeypatch.setattr("nmt_cli.translate.WINDOW", 16)
    with pytest.MonkeyPatch.context() as patch:
        _kill_at(patch, where, calls)
        with pytest.raises(Killed):
            run("bootstrap", place, "--runs", "killed")
    times = _times(Path("killed"))
    shown = _bootstrap(place, "--runs", "killed")
    assert "begun: " in shown
    assert ("going on after line 32" in shown) == (where[1] == "write")
    assert times.items() <= _times(Path("killed")).items()
    assert _products(Path("killed")) == _products(Path("whole"))


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_killed_while_a_corpus_is_joined_nothing_half_made_is_left(
    place: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """The folder is there whole or not at all, before, while and after it gets its name."""
    (place / "bootstrap.toml").write_text(PLAN[: PLAN.rindex("[[stages]]")])
    _bootstrap(place, "--runs", "whole")
    work = "nmt_data.bootstrap.work"
    names = [f"{work}._copy", f"{work}._tagged", f"{work}.write_folder_manifest", "shutil.rmtree"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names[call - 1], _raise)
        with pytest.raises(Killed):
            run("bootstrap", place, "--runs", "killed")
    assert (Path("killed/made")).exists() == (call == 4)
    _bootstrap(place, "--runs", "killed")
    corpus = {name: data for name, data in _products(Path("whole")).items() if not name.startswith("forward")}
    assert _products(Path("killed")) == corpus
    assert not list(Path("killed").glob(".*.part"))


def _raise(*_: Any, ignore_errors: bool = False) -> None:
    if not ignore_errors:
        raise Killed


@pytest.mark.slow
def test_a_process_that_is_ended_at_any_time_goes_on(place: Path) -> None:
    """Killed, asked to stop and by ^C, each at another place: the bytes of a plan that was left alone."""
    ends = {"backward/log.jsonl": signal.SIGKILL, "backward/model": signal.SIGTERM, "forward": signal.SIGINT}
    for begun, number in ends.items():
        process = start("bootstrap", str(place), "--runs", "killed")
        deadline = time.monotonic() + 60
        while process.poll() is None and not Path("killed", begun).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Path("killed", begun).exists()
        if process.poll() is None:
            os.kill(process.pid, number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -number, 128 + number), errors
    _bootstrap(place, "--runs", "killed")
    assert _products(Path("killed")) == _products(Path("whole"))


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("weight = 0.5", "weight = 0.25", {"forward"}),
        ("top_k = 4", "top_k = 3", {"made", "forward"}),
        ("top_k = 4", "top_k = 4\nseed = 2", {"made", "forward"}),
        ("reverse = true", 'reverse = true\nset = ["training.learning_rate=0.1"]', {"backward", "made", "forward"}),
        ("reverse = true", 'reverse = true\nset = ["training.log_every=3", "training.keep=9"]', set[str]()),
        ("reverse = true", 'reverse = true\nset = ["search.min_length=3"]', {"made", "forward"}),
        ("weight = 0.5", 'weight = 0.5\nset = ["search.beam=2"]', set[str]()),
        ("weight = 0.5", 'weight = 0.5\nset = ["training.updates=3"]', {"forward"}),  # it has made more
        ('title = "Two rounds"', 'title = "Other"', set[str]()),
    ],
)
def test_a_stage_with_other_inputs_is_made_anew_and_those_after_it(
    place: Path, old: str, new: str, again: set[str]
) -> None:
    """And no other; the dry run says which may be, and what was made before is set aside."""
    runs = Path("whole")
    before = _times(runs)
    (place / "bootstrap.toml").write_text(PLAN.replace(old, new, 1))
    shown = _bootstrap(place, "--runs", runs, "--dry-run")
    assert all(f"again: {name}" in shown for name in again)
    assert _times(runs) == before
    _bootstrap(place, "--runs", runs)
    assert {name for name, made in _times(runs).items() if made != before[name]} == again
    assert {path.name for path in runs.glob(".before/*")} == again


def test_a_training_with_more_updates_goes_on(place: Path) -> None:
    """Whether it was done or not; then it is done, and what it translates is made anew."""
    runs = Path("whole")
    more = 'reverse = true\nset = ["training.updates=12"]'
    (place / "bootstrap.toml").write_text(PLAN.replace("reverse = true", more))
    shown = _bootstrap(place, "--runs", runs)
    assert "begun: backward" in shown
    assert {path.name for path in runs.glob(".before/*")} == {"made", "forward"}
    steps = [entry["step"] for entry in RunFolder(runs / "backward").entries() if entry["kind"] == "validation"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 12
    assert "to do" not in _bootstrap(place, "--runs", runs)


def test_the_search_is_that_of_the_recipe_as_it_is_now(place: Path) -> None:
    """A model that was trained before its recipe's search changed translates by the new one."""
    plan = PLAN[: PLAN.rindex("[[stages]]")].replace('how = "top-k"\ntop_k = 4\n', "").replace(f'tag = "{TAG}"', "")
    (place / "bootstrap.toml").write_text(plan)
    _bootstrap(place)
    backward = Path("runs/plan/backward")
    before = backward.stat().st_ino, _lines(Path("runs/plan/made/train.input"))
    _bootstrap(place, "--set", "search.beam=2", "--set", "search.min_length=5")
    run("translate", backward / "model", place / "text.output", "--beam", "2", "--min-length", "5", "-o", "found")
    made = _lines(Path("runs/plan/made/train.input"))
    assert (backward.stat().st_ino, made) == (before[0], _lines(Path("found")))
    assert made != before[1]


def test_a_text_that_has_changed_and_a_corpus_that_was_altered_are_made_anew(place: Path) -> None:
    """What a stage made is used only as it was made, and for the text that is there."""
    runs = Path("whole")
    before, products = _times(runs), _products(runs)
    made = runs / "made/train.input"
    made.write_bytes(made.read_bytes().replace(TAG.encode(), b"<tb>", 1))
    assert "again: made" in _bootstrap(place, "--runs", runs, "--dry-run")
    _bootstrap(place, "--runs", runs)
    assert _products(runs) == products
    assert {name for name, time in _times(runs).items() if time != before[name]} == {"made"}
    (runs / "backward/model/weights.safetensors").write_bytes(b"x")
    _bootstrap(place, "--runs", runs)
    assert _products(runs) == products
    before = _times(runs)
    (place / "text.output").write_text("a b c\n" * 9)
    _bootstrap(place, "--runs", runs)
    assert _lines(runs / "made/train.output") == ["a b c"] * 9
    assert {name for name, time in _times(runs).items() if time != before[name]} == {"made", "forward"}


def test_a_text_that_changes_while_it_is_translated_moves_no_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its copy is translated; the next command makes the corpus of the new text."""
    monkeypatch.setattr("nmt_cli.translate.WINDOW", 16)
    with pytest.MonkeyPatch.context() as patch:
        _kill_at(patch, (Sink, "write"), 2)
        with pytest.raises(Killed):
            run("bootstrap", place)
    (place / "text.output").write_text("a b c\n" * 99)
    shown = _bootstrap(place)
    assert "going on after line" not in shown
    assert len(_lines(Path("runs/plan/made/train.input"))) == 99


def test_a_folder_of_somebody_else_and_one_in_use_are_left_alone(place: Path) -> None:
    """A run or a file under the name of a stage is refused, and so is a second bootstrap of the same runs."""
    from nmt.runtime.owners import claim

    runs = Path("runs/plan")
    (runs / "made").mkdir(parents=True)
    (runs / "made/mine").touch()
    assert "no stage of this plan made it; move it, or name another --runs" in run("bootstrap", place).output
    (runs / "made/mine").unlink()
    with claim(runs / ".lock", "it"):
        assert "is being worked on by process" in run("bootstrap", place).output
    assert not (runs / "backward").exists()


def test_models_vote_or_translate_one_by_one(place: Path) -> None:
    """Several models of one vocabulary as an ensemble make one translation of each line, and otherwise one each."""
    text = PLAN.replace('["backward"]', '["backward", "other"]').replace('how = "top-k"\ntop_k = 4', 'how = "greedy"')
    other = '[[stages]]\nname = "other"\ntrain = "recipe.toml"\nreverse = true\nset = ["seed=2"]\n'
    text = text.replace('[[stages]]\nname = "made"', other + '[[stages]]\nname = "made"')
    text = text[: text.rindex("[[stages]]")].replace(f'tag = "{TAG}"', "")
    (place / "bootstrap.toml").write_text(text)
    _bootstrap(place)
    runs = Path("runs/plan")
    for name in ("backward", "other"):
        run("translate", runs / name / "model", place / "text.output", "--beam", "1", "-o", name)
    assert _lines(runs / "made/train.input") == _lines(Path("backward")) + _lines(Path("other"))
    (place / "bootstrap.toml").write_text(text.replace('how = "greedy"', 'how = "greedy"\nensemble = true'))
    shown = _bootstrap(place)
    assert "by backward + other" in shown
    options = ["--ensemble", runs / "other/model", "--beam", "1", "-o", "both"]
    run("translate", runs / "backward/model", place / "text.output", *options)
    assert _lines(runs / "made/train.input") == _lines(Path("both"))


def test_a_model_that_is_named_twice_draws_twice(place: Path) -> None:
    """Its second draws are others, and both are those of `nmt translate` by their seeds."""
    text = PLAN[: PLAN.rindex("[[stages]]")].replace('["backward"]', '["backward", "backward"]')
    (place / "bootstrap.toml").write_text(text.replace(f'tag = "{TAG}"', "seed = 5"))
    _bootstrap(place)
    runs = Path("runs/plan")
    made = _lines(runs / "made/train.input")
    assert made[:60] != made[60:]
    for number, part in ((5, made[:60]), (6, made[60:])):
        draws = ["--sample", "--top-k", "4", "--seed", str(number)]
        run("translate", runs / "backward/model", place / "text.output", *draws, "-o", "drawn")
        assert _lines(Path("drawn")) == part


def test_a_plan_may_begin_with_pre_training(place: Path) -> None:
    """The next training starts from its weights and vocabulary; another weight of the text makes both anew."""
    (place / "lines.input").write_text("a b c\nd e f g\n" * 20)
    mono = 'data.mono=[{language="input", files=["plan/lines.input"]}]'
    first = f"""[[stages]]\nname = "first"\ntrain = "recipe.toml"\nset = ['{mono}', "training.objective=denoise"]\n"""
    second = '[[stages]]\nname = "second"\ntrain = "recipe.toml"\ninitialise = "first"\n'
    (place / "bootstrap.toml").write_text(f'title = "x"\n{first}{second}')
    assert "from first" in _bootstrap(place)
    runs = Path("runs/plan")
    pieces = [Tokenizers.load(runs / name / "model").fingerprints for name in ("first", "second")]
    assert pieces[0] == pieces[1]
    before = _times(runs)
    (place / "bootstrap.toml").write_text(f'title = "x"\n{first}{second}'.replace('"]}]', '"], weight=3}]'))
    _bootstrap(place)
    assert before.keys() == {name for name, made in _times(runs).items() if made != before[name]}


_FIRST = '[[stages]]\nname = "first"\ntrain = "recipe.toml"\n'
_SECOND = '[[stages]]\nname = "second"\ntrain = "recipe.toml"\n'
_JOINT = '[[stages]]\nname = "joint"\ntranslate = "text.input"\nby = ["first", "second"]\nensemble = true\n'
_MONO = """'data.mono=[{language="input", files=["text.input"]}]'"""


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (
            f'{_FIRST}{_SECOND}initialise = "first"\nset = ["model.hidden=12"]\n',
            "stage second: initialise: first has model.hidden = 16, the recipe says 12; both need one model section",
        ),
        (
            f'{_FIRST}{_SECOND}initialise = "first"\nset = ["model.reverse_source=true"]\n',
            "stage second: initialise: first has model.reverse_source = False, the recipe says True",
        ),
        (
            f'{_FIRST}{_SECOND}initialise = "first"\nset = ["data.tag_target=true"]\n',
            "the vocabulary of first has no <2output>; set data.tag_target there too",
        ),
        (
            f'{_FIRST}{_SECOND}initialise = "first"\nset = [{_MONO}]\n',
            "the vocabulary of first has no <mask>; give it data.mono too",
        ),
        (
            f"{PLAN}set = [{_MONO.replace('text.input', 'none.input')}]\n",
            "data.mono: there is no none.input, beside the recipe",
        ),
        (
            f'{_FIRST}{_SECOND}set = ["tokenizer.vocabulary=30"]\n{_JOINT}',
            "stage joint: ensemble: needs models of one vocabulary, and the tokenizers of first and second",
        ),
        (
            f'{_FIRST}{_SECOND}set = ["data.limit=30"]\n{_JOINT}',
            "stage joint: ensemble: needs models of one vocabulary, and the tokenizers of first and second",
        ),
    ],
)
def test_what_would_fail_in_a_later_stage_is_one_line_at_once(place: Path, plan: str, said: str) -> None:
    """Before any training: a model that cannot start another, models that cannot vote, text that is missing."""
    (place / "bootstrap.toml").write_text(plan if plan.startswith("\ntitle") else f'title = "x"\n{plan}')
    result = run("bootstrap", place)
    assert result.exit_code == 1, result.output
    assert said in result.output
    assert result.output.count("nmt: ") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "plan",
    [
        f'{_FIRST}{_SECOND}initialise = "first"\nset = ["model.dropout=0.5", "data.limit=30"]\n{_JOINT}',
        f'{_FIRST}{_SECOND}initialise = "first"\nset = ["tokenizer.model=new", "data.tag_target=true"]\n',
        f'{_FIRST}{_SECOND}set = ["model.hidden=12", "training.updates=2"]\n{_JOINT}',
    ],
)
def test_stages_that_fit_together_are_not_refused(place: Path, plan: str) -> None:
    """Another dropout starts, other tags need a tokenizer of their own, and models of any size vote with one vocabulary."""
    (place / "bootstrap.toml").write_text(f'title = "x"\n{plan}')
    assert " done " in _bootstrap(place)


def test_of_a_font_the_content_counts_and_not_its_place(place: Path) -> None:
    """A model that draws its source is made anew for another font; a font that is missing is one line."""
    fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
    sections = {"tokenizer": {"joint": False, "source_kind": "byte"}, "training": {"updates": 1}}
    model = {"kind": "visual", "base": RNN, "font": "mine.ttf"}
    (place / "recipe.toml").write_text(recipe_to_toml(make_recipe(model, **sections)))
    first = '[[stages]]\nname = "first"\ntrain = "recipe.toml"\n'
    second = '[[stages]]\nname = "second"\ntranslate = "text.input"\nby = ["first"]\n'
    (place / "bootstrap.toml").write_text(f'title = "x"\n{first}{second}')
    assert "model.font: mine.ttf: No such file or directory" in run("bootstrap", place).output
    assert not Path("runs").exists()
    shutil.copy(fonts / "DejaVuSans.ttf", place / "mine.ttf")
    _bootstrap(place)
    shutil.copytree(place, "moved")
    Path("runs").rename("others")
    assert _bootstrap(Path("moved"), "--runs", "others/plan", "--dry-run").count(" done ") == 2
    shutil.copy(fonts / "DejaVuSans-Bold.ttf", place / "mine.ttf")
    assert "again: first" in _bootstrap(place, "--runs", "others/plan", "--dry-run")


def test_a_tag_needs_a_tokenizer_that_keeps_it_whole(place: Path) -> None:
    """That of a model from elsewhere is refused if it lacks the tag, as are capitals in lower case; bytes spell any tag."""
    plain = PLAN.replace(f'tag = "{TAG}"', "")
    (place / "bootstrap.toml").write_text(plain)
    _bootstrap(place, "--runs", "other")
    taken = f'set = ["tokenizer.model={Path("other/forward/model").absolute()}"]'
    (place / "bootstrap.toml").write_text(PLAN.replace("weight = 0.5", taken))
    assert f"has no symbol {TAG}; train another" in run("bootstrap", place, "--dry-run").output
    (place / "bootstrap.toml").write_text(PLAN)
    assert run("bootstrap", place, "--dry-run", "--set", "tokenizer.kind=byte").exit_code == 0
    (place / "bootstrap.toml").write_text(PLAN.replace(TAG, "<BT>"))
    assert run("bootstrap", place, "--dry-run").exit_code == 0
    shown = run("bootstrap", place, "--dry-run", "--set", "data.lowercase=true")
    assert shown.exit_code == 1
    assert "nmt: stage forward: data.lowercase would change the tag <BT>; write it as <bt>" in shown.output


def test_drawn_pairs_stay_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line separator within a sentence moves no line of the small corpora, which hold each other."""
    monkeypatch.setenv("NMT_DATA", str(tmp_path))
    (tmp_path / "multi30k_tok").mkdir()
    pairs = [(f"en {number}\u2028 on" if number == 3 else f"en {number}", f"de {number}") for number in range(1100)]
    for side, language in enumerate(("en", "de")):
        (tmp_path / f"multi30k_tok/train.{language}").write_bytes("\n".join(pair[side] for pair in pairs).encode())
    runpy.run_path(str(ROOT / "recipes/low-resource-ende/draw.py"))["main"](tmp_path / "drawn")
    small, large = (
        list(zip(*(_lines(tmp_path / f"drawn/{size}.{language}") for language in ("en", "de")), strict=True))
        for size in (1000, 5000)
    )
    assert sorted(large) == sorted(pairs)
    assert small == large[:1000]
