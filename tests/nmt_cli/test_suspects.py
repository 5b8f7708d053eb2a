"""`nmt data suspects` finds planted noise by the loss, says which filter knows it, and where it stands."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from command import run
from nmt.config.reading import parse_recipe
from nmt.training.trainer import Trainer
from nmt_data.prepare import prepare
from nmt_data.synthetic import phrasebook

PAIRS, PLANTED = 1500, 45


@pytest.fixture(scope="module")
def planted(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[int]]:
    """A run on phrases of which some have another translation, or copied or swapped sides, and the lines of these."""
    folder, generator = tmp_path_factory.mktemp("planted"), random.Random(1)
    pairs = list(phrasebook.split("train")[:PAIRS])
    rows = generator.sample(range(PAIRS), PLANTED)
    for number, row in enumerate(rows):
        source, target = pairs[row]
        pairs[row] = [(source, pairs[row - 700][1]), (source, source), (target, source)][number % 3]
    pairs[3:3] = [("", ""), ("", "")]  # dropped, so that rows and lines differ
    for side, language in enumerate(("de", "en")):
        (folder / f"train.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
        valid = phrasebook.split("valid")[:20]
        (folder / f"valid.{language}").write_text("".join(f"{pair[side]}\n" for pair in valid))
    (folder / "card.toml").write_text(
        'name = "mine"\ntitle = "t"\nlicence = "l"\nlanguages = ["de", "en"]\n'
        'splits = { train = "train.{language}", valid = "valid.{language}" }\n'
    )
    recipe = parse_recipe(
        {
            "name": "planted",
            "data": {"corpus": str(folder / "card.toml"), "source": "de", "target": "en"},
            "tokenizer": {"kind": "word", "vocabulary": 600},
            "model": {"kind": "rnn", "embedding": 32, "hidden": 48, "dropout": 0.0},
            "training": {
                "updates": 160,
                "batch_tokens": 500,
                "validate_every": 80,
                "validation_sentences": 4,
                "learning_rate": 8e-3,
                "warmup": 10,
                "label_smoothing": 0.0,
            },
        },
        "test",
    )
    (folder / "run").mkdir()
    Trainer(recipe, prepare(recipe), folder / "run", torch.device("cpu")).run()
    return folder / "run", {row + 1 if row < 3 else row + 3 for row in rows}


def test_noise_has_the_highest_loss(planted: tuple[Path, set[int]]) -> None:
    """Among as many pairs as were planted, most were, where chance would find 3 %; a filter knows the copies."""
    path, lines = planted
    shown = run("data", "suspects", path, "--count", str(PLANTED), "--json")
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    right = [entry for entry in found["suspects"] if entry["line"] in lines]
    assert len(right) > 0.6 * PLANTED
    copies = [entry for entry in right if entry["source"] == entry["target"]]
    assert copies
    assert all("identical sides" in entry["filters"] for entry in copies)
    assert found["models"] == ["step-00000080", "step-00000160"]
    assert all(min(entry["losses"].values()) >= 0 for entry in found["suspects"])


def test_all_pairs_are_written_with_their_lines(planted: tuple[Path, set[int]], tmp_path: Path) -> None:
    """Each line of the corpus that is trained on once, the worst first, so that the first can be dropped by their lines."""
    path, _ = planted
    shown = run("data", "suspects", path, "--count", "3", "--output", tmp_path / "all.tsv")
    assert shown.exit_code == 0, shown.stderr
    assert f"scored {PAIRS:,} of {PAIRS:,} pairs" in shown.stderr
    head, *rows = (tmp_path / "all.tsv").read_text().rstrip("\n").split("\n")
    assert head.split("\t") == ["corpus", "line", "mean loss", "step-00000080", "step-00000160", "source", "target"]
    texts = [(path.parent / f"train.{language}").read_text().split("\n") for language in ("de", "en")]
    cells = [row.split("\t") for row in rows]
    assert sorted(int(cell[1]) for cell in cells) == [1, 2, 3, *range(6, PAIRS + 3)]
    assert all((cell[5], cell[6]) == tuple(text[int(cell[1]) - 1] for text in texts) for cell in cells)
    losses = [float(cell[2]) for cell in cells]
    assert losses == sorted(losses, reverse=True)


def test_a_sample_is_scored_as_the_whole_is(planted: tuple[Path, set[int]]) -> None:
    """The loss of a pair does not depend on how many others are scored, but for the last digits."""
    path, _ = planted
    found = [
        {entry["line"]: entry["losses"]["step-00000160"] for entry in json.loads(shown.stdout)["suspects"]}
        for sample in (40, PAIRS)
        if (shown := run("data", "suspects", path, "--count", str(PAIRS), "--sample", str(sample), "--json"))
    ]
    assert [len(losses) for losses in found] == [40, PAIRS]
    assert all(abs(loss - found[1][line]) < 1e-3 for line, loss in found[0].items())


@pytest.mark.parametrize("change", ["gone", "changed", "no run"])
def test_a_run_without_its_corpus_is_one_line(planted: tuple[Path, set[int]], tmp_path: Path, change: str) -> None:
    """It is gone or changed, or there is no run; nothing is scored."""
    path = tmp_path / "copy" / "run"
    shutil.copytree(planted[0].parent, tmp_path / "copy")
    toml = (path / "recipe.toml").read_text().replace(str(planted[0].parent), str(tmp_path / "copy"))
    (path / "recipe.toml").write_text(toml)
    if change == "gone":
        (tmp_path / "copy" / "train.de").unlink()
    if change == "changed":
        for language in ("de", "en"):
            with (tmp_path / "copy" / f"train.{language}").open("a") as stream:
                stream.write("new\n")
    if change == "no run":
        path = tmp_path / "nothing"
    shown = run("data", "suspects", path)
    assert shown.exit_code == 1
    assert "Traceback" not in shown.stderr
    assert shown.stdout == ""
    words = {"gone": "train", "changed": "no longer the one that step-", "no run": "no such folder"}
    assert words[change] in shown.stderr.splitlines()[-1]
