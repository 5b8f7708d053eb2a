"""What the command says of itself: plain words, an example for each verb, the names that were meant."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from command import environment, run
from nmt.translation.translator import Translator
from nmt_cli.help import EXAMPLES
from nmt_cli.main import app
from nmt_data.synthetic import phrasebook

LINES = [source for source, _ in phrasebook.split("test")[:6]]


def test_every_verb_has_an_example_and_no_types_of_python() -> None:
    """`nmt help VERB` shows what `nmt VERB --help` shows."""
    for name, example in EXAMPLES.items():
        shown = run(*name.split(), "--help")
        assert shown.exit_code == 0, name
        assert example.split()[0] in shown.stdout
        assert not re.search(r"<(str|bool|int|float|path|dir|file|list)\b", shown.stdout), name
        words = shlex.split(re.sub(r" <.*", "", example))
        assert words[: 1 + len(name.split())] == ["nmt", *name.split()]
    for name in ("translate", "data show"):
        assert run("help", *name.split()).stdout == run(*name.split(), "--help").stdout
    assert "nmt help VERB" in run("--help").stdout
    assert run("help").stdout == run("--help").stdout
    assert run("help", "nope").exit_code == 2


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_taken(name: str) -> None:
    """Its options are there, and nothing that the verb needs is left out."""
    command: Any = get_command(app)
    for word in name.split():
        command = command.commands[word]
    words = shlex.split(re.sub(r" <.*", "", EXAMPLES[name]))
    assert command.make_context(name, words[1 + len(name.split()) :])


@pytest.mark.parametrize("verb", ["translate", "info", "average"])
def test_a_run_of_a_similar_name_is_proposed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Beside the path that was given, and in the folder of runs; what is no run is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "phrasebook-attention" / "checkpoints").mkdir(parents=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "phrasebook-transformed").mkdir()
    shutil.copytree(trained / "model", tmp_path / "there" / "phrasebook-transformer")
    more = ["-o", "out"] if verb == "average" else []
    for given, meant in (
        ("phrasebook-atention", "runs/phrasebook-attention"),
        ("there/phrasebook-transformar", "there/phrasebook-transformer"),
    ):
        result = run(verb, given, *more)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{given}: no such folder (did you mean {meant}?)" in result.stderr
    assert "did you mean" not in run(verb, "other", *more).stderr


def test_average_takes_as_many_checkpoints_as_there_are(trained: Path, tmp_path: Path) -> None:
    """Up to five, unless it is told how many."""
    count = len(list((trained / "checkpoints").glob("step-*")))
    shown = run("average", trained, "-o", tmp_path / "mean")
    assert shown.exit_code == 0, shown.output
    assert f"mean of {min(count, 5)} checkpoints" in shown.stderr


def test_a_file_that_is_interrupted_says_where_it_goes_on(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """^C between two chunks; the same command does go on there, and so does a corpus that is prepared."""
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    chunk = Translator.translate_n_best
    monkeypatch.setattr("nmt_cli.translate.WINDOW", 2)

    def interrupted(self: Translator, lines: list[str], *rest: Any) -> Any:
        if lines == LINES[2:4]:
            raise KeyboardInterrupt
        return chunk(self, lines, *rest)

    monkeypatch.setattr(Translator, "translate_n_best", interrupted)
    stopped = run("translate", trained, tmp_path / "in", "-o", tmp_path / "out")
    assert stopped.exit_code == 130
    assert (
        f"interrupted after 2 lines, which lie in {tmp_path / 'out.part'}; the same command goes on after line 2"
        in stopped.stderr
    )
    monkeypatch.setattr(Translator, "translate_n_best", chunk)
    again = run("translate", trained, tmp_path / "in", "-o", tmp_path / "out")
    assert "going on after line 2 of an interrupted run" in again.stderr
    monkeypatch.setattr("nmt_data.prepare.prepare", interrupted_prepare)
    stopped = run("prepare", trained)
    assert (stopped.exit_code, "nothing half made; the same command goes on" in stopped.stderr) == (130, True)


def interrupted_prepare(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["train", "recipe.toml"], []])
def test_windows_is_refused_in_one_line(arguments: list[str]) -> None:
    """Before anything is imported that Windows lacks, with the way that works."""
    become = "import sys; sys.modules['fcntl'] = None; from nmt_cli.main import app; sys.platform = 'win32'; "
    command = [sys.executable, "-c", f"{become}app({arguments!r}, prog_name='nmt')"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "nmt: runs on Linux and macOS; on Windows, use it within WSL\n"
