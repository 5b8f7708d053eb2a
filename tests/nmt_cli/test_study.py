"""A study trains every system with every seed once, and says what came of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from command import run
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.lines import write_lines
from nmt.errors import ConfigError, NmtError
from nmt.experiments.study import load_study, run_name
from nmt.runtime.owners import claim
from nmt.runtime.signals import only_trainer
from nmt.scoring.accuracy import accuracy_by_length
from nmt.storage.checkpoint import name_of
from nmt_cli.study_commands import Commands
from nmt_cli.testsets import choose_testsets
from tiny import make_recipe

STUDY = """
title = "Two decoders"
testset = "test"
measure = "accuracy"
seeds = [1, 2]

[[systems]]
name = "fixed vector"
set = ["model.attention=none"]

[[systems]]
name = "additive"
"""


def test_a_study_of_some_of_its_systems(tmp_path: Path) -> None:
    """They keep the order of the study; an unknown name is refused with the nearest one."""
    (tmp_path / "study.toml").write_text(STUDY)
    plan = load_study(tmp_path)
    assert plan.only(None, ()) == plan
    assert plan.only(1, ["additive", "fixed vector"]).systems == plan.systems
    assert [system.name for system in plan.only(1, ["additive"]).systems] == ["additive"]
    assert plan.only(1, ()).seeds == (1,)
    with pytest.raises(ConfigError, match=r"no system 'aditive' \(did you mean additive\?\)"):
        plan.only(None, ["aditive"])


@pytest.mark.parametrize("name", ["a/b", "x: y", "", ".hidden"])
def test_a_system_whose_run_could_have_no_recipe_is_refused_at_once(tmp_path: Path, name: str) -> None:
    """Before any corpus is prepared, in one line that names the system's place and what is wrong."""
    (tmp_path / "study.toml").write_text(STUDY.replace('"additive"', json.dumps(name)))
    with pytest.raises(ConfigError) as error:
        load_study(tmp_path)
    assert str(error.value).startswith(
        f"{tmp_path / 'study.toml'}: systems.1.name: names files, so it must not be empty"
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["cnn, SE", "BPE, typos", "mean of 5 checkpoints"])
def test_a_system_may_have_a_name_of_several_words(tmp_path: Path, name: str) -> None:
    """Its run is the folder of that name with dashes for spaces, and a recipe may be called so."""
    (tmp_path / "study.toml").write_text(STUDY.replace('"additive"', json.dumps(name)))
    system = load_study(tmp_path).systems[1]
    assert (system.name, run_name(system, 2)) == (name, f"{name.replace(' ', '-')}-2")
    assert Recipe.model_validate(make_recipe().model_dump() | {"name": name}).name == name


@pytest.mark.parametrize(("asked", "threads"), [(None, "3"), ("1", "1")])
def test_its_trainings_have_as_many_threads_as_the_user_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: str | None, threads: str
) -> None:
    """By OMP_NUM_THREADS, as for a training alone; without it they share the cores."""
    telling = tmp_path / "telling"
    telling.write_text("#!/bin/sh\necho $OMP_NUM_THREADS\n")
    telling.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(telling))
    monkeypatch.delenv("OMP_NUM_THREADS")
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert Commands(3).call(tmp_path, "train").strip() == threads


@pytest.mark.slow
def test_a_study_ends_in_a_table_figures_and_pictures(tmp_path: Path, home: Path) -> None:
    """What is done is kept: a second call trains nothing; names and numbers are in every file."""
    recipe = make_recipe({"kind": "rnn", "embedding": 16, "hidden": 16}, data={"corpus": "reverse", "limit": 500})
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(recipe))
    (tmp_path / "study.toml").write_text(STUDY)
    options = ["--runs", tmp_path / "runs", "--output", tmp_path / "out", "--seeds", "1", "--set", "training.updates=3"]
    first = run("study", tmp_path, *options)
    assert first.exit_code == 0, first.output
    assert first.stdout.count("fixed vector") == 1
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["system"] for row in content["rows"]] == ["fixed vector", "additive"]
    assert [row["seeds"] for row in content["rows"]] == [1, 1]
    assert content["rows"][0]["p_value"] is None
    assert content["rows"][1]["p_value"] is not None
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert lines[0] == "system,seed,testset,measure,from,to,sentences,value,low,high"
    assert {line.split(",")[0] for line in lines[1:]} == {"fixed vector", "additive"}
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".csv", ".json", ".png", ".svg"]
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("weights.safetensors")}
    again = run("study", tmp_path, *options)
    assert again.exit_code == 0, again.output
    assert trained == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("weights.safetensors")}


@pytest.mark.thorough
def test_a_study_that_is_stopped_twice_kills_its_trainings(tmp_path: Path, home: Path) -> None:
    """Those that wait do not begin. What it does if it is asked once is tested below."""
    recipe = make_recipe({"kind": "rnn", "embedding": 16, "hidden": 16}, data={"corpus": "reverse", "limit": 500})
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(recipe))
    (tmp_path / "study.toml").write_text(STUDY)
    command = [sys.executable, "-m", "nmt_cli", "study", tmp_path, "--runs", tmp_path / "runs", "--jobs", "1"]
    settings = ["--set", "training.updates=1000000", "--set", "training.log_every=1"]
    process = subprocess.Popen([*map(str, command), *settings], stderr=subprocess.PIPE, text=True)
    first = tmp_path / "runs" / "fixed-vector-1"
    deadline = time.monotonic() + 120
    while not (first / "log.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    for _ in range(2):
        process.terminate()
        time.sleep(0.05)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM, errors
    time.sleep(1)  # the training dies beside the study
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [first.name]
    with only_trainer(first):  # nobody trains there any more
        pass


class _Lab:
    """Trains and scores in no time: a run's translations are those of the recipe that it was trained and asked with."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.stop_at = ""

    def call(self, folder: Path, verb: str, *arguments: str) -> str:
        """In the place of `Commands.call`."""
        from nmt.config.reading import load_recipe, recipe_to_toml

        self.calls.append(f"{verb} {folder.name}")
        if verb == self.stop_at:
            raise NmtError("stopped on the way")
        options = list(pairwise(arguments))
        if verb == "train":
            recipe = load_recipe(Path(arguments[0]), [value for key, value in options if key == "--set"])
            (folder / "recipe.toml").write_text(recipe_to_toml(recipe))
        if verb != "evaluate":
            return '[{"error_rate": 5.0, "links": "layer 1"}]'
        recipe = load_recipe(folder)
        testsets = choose_testsets(recipe, [value for key, value in options if key == "--testset"])
        said = f"{recipe.training.updates} {recipe.search.beam}"
        score = {"metric": "bleu", "value": float(recipe.training.updates), "low": 0.0, "high": 0.0, "signature": ""}
        evaluations = [
            {"testset": item.name, "sentences": len(item.source), "scores": [score], "by_length": []}
            for item in testsets
        ]
        folder = Path(dict(options)["--save"])
        folder.mkdir()
        card = {"parameters": 1, "updates": 2, "target_tokens": 300, "tokens_per_second": 600, "seconds": 9}
        content = {**card, "said": said, "evaluations": evaluations}
        (folder / "result.json").write_text(json.dumps(content))
        for item in testsets:
            write_lines(folder / f"{item.name}.hypothesis", [said] * len(item.source))
        return ""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Lab:
    """A study of one system on a corpus of its own, and what stands for its trainings."""
    made = _Lab()
    monkeypatch.setattr(Commands, "call", made.call)
    monkeypatch.setattr("nmt.report.length_plot.plot_by_length", lambda *_, **__: None)
    for name in ("train", "valid", "test", "other"):
        for language in ("input", "output"):
            (tmp_path / f"{name}.{language}").write_text("".join(f"{name} a {index}\n" for index in range(9)))
    splits = "".join(f'{name} = "{name}.{{language}}"\n' for name in ("train", "valid", "test", "other"))
    head = f'name = "m"\ntitle = "m"\nlicence = "{tmp_path}"\nlanguages = ["input", "output"]\n'
    (tmp_path / "card.toml").write_text(f"{head}[splits]\n{splits}")
    recipe = make_recipe(data={"corpus": "card.toml", "source": "input", "target": "output"})
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(recipe))
    (tmp_path / "study.toml").write_text(
        'title = "One"\ntestset = "test"\nmeasure = "accuracy"\n[[systems]]\nname = "5"\n'
    )
    return made


def _study(folder: Path, *settings: str) -> dict[str, Any]:
    """What a study reports of its one run, and whether it could."""
    options = [part for setting in settings for part in ("--set", setting)]
    result = run("study", folder, "--runs", folder / "runs", "--jobs", "1", *options)
    if result.exit_code:
        return {"said": result.output}
    (found,) = json.loads((folder / "runs" / "results.json").read_text())["runs"]
    return dict(found)


def test_the_time_of_an_update_is_without_validations(lab: _Lab, tmp_path: Path) -> None:
    """It is that of the tokens trained on, at the speed of the training."""
    _study(tmp_path)
    (row,) = json.loads((tmp_path / "runs" / "results.json").read_text())["rows"]
    assert row["milliseconds"] == 250.0


def test_a_result_is_kept_for_all_that_made_it_and_for_nothing_else(lab: _Lab, tmp_path: Path) -> None:
    """Asked again nothing is done; another length, search, test set or text of it is scored anew."""
    assert _study(tmp_path)["said"] == "6 5"
    assert lab.calls == ["train 5-1", "evaluate 5-1"]
    assert "nmt: 1 of 1 runs are done" in run("study", tmp_path, "--runs", tmp_path / "runs", "--jobs", "1").stderr
    assert len(lab.calls) == 2
    assert _study(tmp_path, "training.updates=9")["said"] == "9 5"
    assert _study(tmp_path, "training.updates=9", "search.beam=2")["said"] == "9 2"
    assert len(lab.calls) == 6
    with (tmp_path / "study.toml").open("r+") as study:
        text = study.read()
        study.seek(0)
        study.write(text.replace("measure", 'also = ["other"]\nmeasure'))
    names = [item["testset"] for item in _study(tmp_path)["evaluations"]]
    assert names == ["test", "other"]
    (tmp_path / "test.output").write_text("".join(f"other {index}\n" for index in range(9)))
    count = len(lab.calls)
    _study(tmp_path)
    assert len(lab.calls) == count + 2
    for name in ("result.json", "test.hypothesis"):
        path = tmp_path / "runs" / "5-1" / "results" / name
        path.write_text(path.read_text().replace("6", "7"))
        count = len(lab.calls)
        assert _study(tmp_path)["said"] == "6 5"
        assert len(lab.calls) == count + 2


def test_another_training_is_made_anew_and_the_old_one_kept(lab: _Lab, tmp_path: Path) -> None:
    """One that went on from the end of a shorter one would not be that of the recipe. Another search trains nothing."""
    assert _study(tmp_path)["said"] == "6 5"
    runs = tmp_path / "runs"
    for setting, folders in (("search.beam=2", 1), ("training.updates=9", 2), ("training.updates=9", 2), ("seed=1", 3)):
        (runs / "5-1" / "checkpoints" / name_of(6)).mkdir(parents=True, exist_ok=True)
        _study(tmp_path, setting)
        assert len([path for path in runs.iterdir() if path.is_dir()]) == folders, setting
    assert load_recipe(runs / "5-1.before-1").training.updates == 6
    assert load_recipe(runs / "5-1.before-2").training.updates == 9
    assert (runs / "5-1.before-1" / "results" / "result.json").exists()


def test_results_of_a_whole_study_are_not_overwritten_by_those_of_a_part(lab: _Lab, tmp_path: Path) -> None:
    """It says where they stay; a system that is no longer in the study does not count."""
    text = (tmp_path / "study.toml").read_text()
    (tmp_path / "study.toml").write_text(f'seeds = [1, 2]\n{text}[[systems]]\nname = "other"\n')
    command = ("study", tmp_path, "--runs", tmp_path / "runs", "--jobs", "1")
    assert run(*command).exit_code == 0
    whole = (tmp_path / "runs" / "results.json").read_bytes()
    for part in (("--system", "other"), ("--seeds", "1")):
        done = run(*command, *part)
        assert done.exit_code == 0
        assert "other" in done.stdout
        assert "results.json also has 5 (seed " in done.stderr
        assert (tmp_path / "runs" / "results.json").read_bytes() == whole
        assert run(*command, *part, "--output", tmp_path / part[0]).exit_code == 0
        assert (tmp_path / part[0] / "results.json").exists()
    (tmp_path / "study.toml").write_text(text)
    assert run(*command).exit_code == 0
    assert (tmp_path / "runs" / "results.json").read_bytes() != whole


def test_a_recipe_that_changes_while_it_trains_is_trained_anew(
    lab: _Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result is of the recipe as it was when the training began."""
    recipe = tmp_path / "recipe.toml"

    def changing(folder: Path, verb: str, *arguments: str) -> str:
        said = lab.call(folder, verb, *arguments)
        recipe.write_text(recipe.read_text().replace("updates = 6", "updates = 7"))
        return said

    with monkeypatch.context() as patch:
        patch.setattr(Commands, "call", staticmethod(changing))
        assert _study(tmp_path)["said"] == "6 5"
    assert _study(tmp_path)["said"] == "7 5"
    assert len(lab.calls) == 4


@pytest.mark.parametrize("verb", ["train", "evaluate"])
@pytest.mark.parametrize("setting", ["training.updates=9", "search.beam=2"])
def test_a_study_that_was_stopped_on_the_way_reports_no_old_score(
    lab: _Lab, tmp_path: Path, verb: str, setting: str
) -> None:
    """Neither when it is stopped nor when it is asked again: before, in or after the training."""
    assert _study(tmp_path)["said"] == "6 5"
    lab.stop_at = verb
    assert "stopped on the way" in _study(tmp_path, setting)["said"]
    assert "stopped on the way" in _study(tmp_path, setting)["said"]
    lab.stop_at = ""
    expected = "9 5" if "updates" in setting else "6 2"
    assert _study(tmp_path, setting)["said"] == expected


def test_gold_links_are_looked_for_beside_the_study_and_are_part_of_a_result(lab: _Lab, tmp_path: Path) -> None:
    """Then under NMT_DATA; at neither place is one line, before anything is trained."""
    text = 'pairs = "pairs"\ngold = "gold"\n' + (tmp_path / "study.toml").read_text()
    (tmp_path / "study.toml").write_text(text)
    assert "pairs: neither beside the study nor under NMT_DATA" in _study(tmp_path)["said"]
    assert lab.calls == []
    for content in ("1-1\n", "1-2\n"):
        for name in ("pairs", "gold"):
            (tmp_path / name).write_text(content)
        assert _study(tmp_path)["alignment_error_rate"] == 5.0
    assert lab.calls == ["train 5-1", "evaluate 5-1", "attend 5-1"] * 2


def test_a_second_study_of_the_same_runs_is_refused(lab: _Lab, tmp_path: Path) -> None:
    """While another process holds the lock on the runs, a study trains nothing."""
    (tmp_path / "runs").mkdir()
    with claim(tmp_path / "runs" / "lock", "it"):
        assert "runs is being worked on by process" in _study(tmp_path)["said"]
    assert lab.calls == []


def test_a_study_waits_for_a_training_that_is_about_to_end(
    lab: _Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a study which was killed: it saves first. One that does not end is named."""
    monkeypatch.setattr("nmt_cli.study_commands.sleep", lambda _: held.__exit__(None, None, None))
    (tmp_path / "runs" / "5-1").mkdir(parents=True)
    held = only_trainer(tmp_path / "runs" / "5-1")
    held.__enter__()
    assert _study(tmp_path)["said"] == "6 5"
    monkeypatch.setattr("nmt_cli.study_commands.sleep", lambda _: None)
    with only_trainer(tmp_path / "runs" / "5-1"):
        assert "5-1 is being trained by process" in _study(tmp_path, "seed=2")["said"]


@pytest.mark.slow
def test_trainings_end_with_a_study_that_is_killed_or_stopped(tmp_path: Path, home: Path) -> None:
    """Nobody trains on, what was done is saved, nothing new begins; the same command goes on, here at once after a kill."""
    recipe = make_recipe({"kind": "rnn", "embedding": 16, "hidden": 16}, data={"corpus": "reverse", "limit": 500})
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(recipe))
    (tmp_path / "study.toml").write_text(STUDY)
    command = [sys.executable, "-m", "nmt_cli", "study", tmp_path, "--runs", tmp_path / "runs", "--jobs", "1"]
    settings = ["--set", "training.updates=1000000", "--set", "training.log_every=1"]
    first = tmp_path / "runs" / "fixed-vector-1"
    for begins, end in (("starting: ", signal.SIGKILL), ("going on from update", signal.SIGTERM)):
        process = subprocess.Popen([*map(str, command), *settings], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            log = (first / "study.log").read_text() if (first / "study.log").exists() else ""
            if "tok/s" in log.partition(begins)[2]:
                break
            time.sleep(0.1)
        process.send_signal(end)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "stopped by SIGTERM with its trainings; the same command goes on from there" in errors
    with only_trainer(first):
        pass
    assert (first / "study.log").read_text().count("stopped by SIGTERM after update") == 2
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [first.name]


def test_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    """Two systems, or two seeds, would train in one folder."""
    for seeds, names in (([1], ["a b", "A-b"]), ([1, 2, 1], ["a"]), ([], ["a"])):
        systems = "".join(f'[[systems]]\nname = "{name}"\n' for name in names)
        (tmp_path / "study.toml").write_text(f'title = "x"\ntestset = "test"\nseeds = {seeds}\n{systems}')
        with pytest.raises(ConfigError, match=r"two runs would be called a|seeds: "):
            load_study(tmp_path)


def test_a_study_that_is_wrong_is_refused(tmp_path: Path) -> None:
    """One line, before anything is trained."""
    assert "No such file" in run("study", tmp_path).output
    (tmp_path / "study.toml").write_text('title = "x"\ntestset = "test"\nsystems = []\nsed = 1\n')
    result = run("study", tmp_path)
    assert result.exit_code == 1
    assert "unknown key sed (did you mean seeds?)" in result.output
    assert "systems: must have an entry" in result.output
    (tmp_path / "study.toml").write_text('title = "x"\ntestset = "test"\ngold = "x"\n[[systems]]\nnme = "a"\n')
    wrong = run("study", tmp_path).stderr.splitlines()
    assert len(wrong) == 2
    assert "unknown key systems.0.nme (did you mean name?)" in wrong[1]
    (tmp_path / "study.toml").write_text('title = "x"\ntestset = "test"\ngold = "x"\n[[systems]]\nname = "a"\n')
    assert "pairs and gold go together" in run("study", tmp_path).stderr


def test_systems_of_other_test_sentences_are_refused(lab: _Lab, tmp_path: Path) -> None:
    """Before anything is trained, with the names of both and what differs."""
    study = tmp_path / "study.toml"
    study.write_text(study.read_text() + '[[systems]]\nname = "low"\nset = ["data.lowercase=true"]\n')
    said = _study(tmp_path)["said"]
    assert "5 and low cannot be compared: their test set test differs in lowercase" in said
    assert lab.calls == []


@pytest.mark.parametrize(
    ("testset", "also", "names"),
    [
        ("test", '["test"]', ["test"]),
        ("test", '["other", "test"]', ["test", "other"]),
        ("other.input:other.output", '["test"]', ["other", "test"]),
    ],
)
def test_a_study_may_name_its_test_sets_as_others_do(
    lab: _Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, testset: str, also: str, names: list[str]
) -> None:
    """Twice, or as files, which are called after the source; no training is lost by it."""
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "study.toml"
    study.write_text(study.read_text().replace('testset = "test"', f'testset = "{testset}"\nalso = {also}'))
    found = _study(tmp_path)
    assert found["said"] == "6 5"
    assert [item["testset"] for item in found["evaluations"]] == names


def test_accuracy_counts_positions() -> None:
    """By length of the source; what is missing or beyond the end is wrong."""
    buckets = accuracy_by_length(["a b", "c d", "e f g"], ["b a", "d", "g f x y"], ["b a", "d c", "g f e"])
    assert [(bucket.low, bucket.sentences) for bucket in buckets] == [(2, 2), (3, 1)]
    assert [round(bucket.score.value, 1) for bucket in buckets] == [75.0, 66.7]


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("recipes/*/study.toml")), ids=lambda p: p.parent.name
)
def test_the_studies_of_the_checkout_are_right(path: Path) -> None:
    """Every system has a recipe that can be read, and names are told apart."""
    from nmt.config.reading import load_recipe

    plan = load_study(path.parent)
    assert len({system.name for system in plan.systems}) == len(plan.systems)
    for system in plan.systems:
        load_recipe(path.parent / system.recipe, list(system.set))
