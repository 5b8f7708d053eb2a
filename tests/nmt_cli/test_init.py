"""`nmt init`: two commands from a spreadsheet to a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import run
from nmt_data.cards import load_card
from nmt_data.reading import Split
from nmt_data.synthetic import phrasebook


@pytest.fixture
def sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spreadsheet in the current folder."""
    rows = "".join(f'"{one}";"{two}"\n' for one, two in phrasebook.split("train")[:300])
    (tmp_path / "sheet.csv").write_text(f"Deutsch;English\n{rows}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_commands_train_on_a_spreadsheet(sheet: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first shows ten pairs and writes two files with paths that move with them; the second trains."""
    made = run("init", "my", "--from", "sheet.csv")
    assert made.exit_code == 0, made.stderr
    assert made.stdout.count("\n") >= 10
    assert "nmt train my/recipe.toml" in made.stderr
    assert 'train = "../sheet.csv"' in (sheet / "my/corpus.toml").read_text()
    moved = sheet.rename(sheet.with_name("moved"))
    options = ("--set", "training.updates=2", "--device", "cpu", "--run", tmp_path_factory.mktemp("runs") / "my")
    trained = run("train", moved / "my/recipe.toml", *options)
    assert trained.exit_code == 0, trained.stderr
    assert trained.stdout.strip().endswith("model")


@pytest.mark.parametrize(
    ("folder", "file"),
    [("link/my", "sheet.csv"), ("my", "link/../sheet.csv"), ("my", "linked/sheet.csv"), ("link", "sheet.csv")],
)
def test_links_lead_to_the_same_files(sheet: Path, folder: str, file: str) -> None:
    """Through a linked folder to write to or to read from, the card names the files that were looked at."""
    (sheet / "other/sub").mkdir(parents=True)
    (sheet / "link").symlink_to("other/sub")
    (sheet / "linked").symlink_to(".")
    (sheet / "other/sheet.csv").write_bytes((sheet / "sheet.csv").read_bytes())
    made = run("init", folder, "--from", file)
    assert made.exit_code == 0, made.stderr
    card = load_card(f"{folder}/corpus.toml")
    found = Split(card, "train", *card.languages).files
    assert [path.samefile(file) for path in found] == [True]


def test_lines_that_are_left_out_are_told(sheet: Path) -> None:
    """Of a file of Windows those with an umlaut are, which the terminal says, with what keeps them."""
    text = (sheet / "sheet.csv").read_text()
    (sheet / "sheet.csv").write_bytes(text.encode("cp1252"))
    told = run("init", "my", "--from", "sheet.csv").stderr
    count = sum(not line.isascii() for line in text.splitlines())
    assert f"{count} lines that are not UTF-8 are left out; if the file is of Windows, iconv -f WINDOWS-1252" in told


def test_nothing_is_overwritten(sheet: Path) -> None:
    """Neither of the two files, even if only one is there; several files may follow `--from`."""
    assert run("init", "my", "--from", "sheet.csv").exit_code == 0
    before = (sheet / "my/recipe.toml").read_text()
    (sheet / "my/corpus.toml").unlink()
    refused = run("init", "my", "--from", "sheet.csv")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "nmt: my/recipe.toml: is there already, and nothing is overwritten; name another folder\n"
    assert (sheet / "my/recipe.toml").read_text() == before
    assert not (sheet / "my/corpus.toml").exists()
    (sheet / "more.csv").write_bytes((sheet / "sheet.csv").read_bytes())
    assert run("init", "both", "--from", "sheet.csv", "more.csv").exit_code == 0
    assert "600 pairs" in (sheet / "both/recipe.toml").read_text()


@pytest.mark.parametrize("arguments", [("--source", "de", "--target", "de"), ("--source", "fr"), ("--from", "nowhere")])
def test_a_wrong_wish_is_one_line_and_leaves_nothing(sheet: Path, arguments: tuple[str, ...]) -> None:
    """No folder is made."""
    refused = run("init", "my", "--from", "sheet.csv", *arguments)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert not (sheet / "my").exists()
