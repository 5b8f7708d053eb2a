"""What the operating system refuses is one line, before work is lost; closed or foreign streams lose nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from command import NMT, environment, run
from nmt import NmtError
from nmt.config.reading import recipe_to_toml
from nmt.fast.kernels import build
from nmt.runtime.atomic import write_json
from nmt.runtime.files import check_output, explain_os_error, home_folder
from nmt_cli.main import app
from tiny import make_recipe

OUTPUTS = [
    ("translate", "none", "TEXT", "--output"),
    ("export", "none", "--output"),
    ("average", "none", "--output"),
    ("shortlist", "none", "--output"),
    ("report", "none", "--output"),
    ("attend", "none", "TEXT", "--plot"),
    ("tokenizer", "train", "none", "--output"),
    ("train", "RECIPE", "--run"),
    ("bench", "train", "none", "--profile"),
]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """A text, a recipe, and two places where nothing can be written, by root either."""
    (tmp_path / "text").write_text("eins zwei drei\n" * 20)
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(make_recipe()))
    found = {"TEXT": "text", "RECIPE": "recipe.toml", "FILE": "text/below/it"}
    return {name: str(tmp_path / path) for name, path in found.items()} | {"PROC": "/proc/below"}


@pytest.mark.parametrize("place", ["FILE", "PROC"])
@pytest.mark.parametrize("arguments", OUTPUTS, ids=lambda arguments: arguments[0])
def test_an_output_that_cannot_be_written_is_refused_first(
    places: dict[str, str], arguments: tuple[str, ...], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is looked for, which is not there either, and before a corpus is prepared."""
    monkeypatch.setattr("nmt_data.prepare.prepare", lambda *_: pytest.fail("the work has begun"))
    result = run(*(places.get(argument, argument) for argument in arguments), places[place])
    assert result.exit_code == 1, result.output
    line, end = result.stderr.split("\n")
    assert line.startswith(f"nmt: {places[place]}")
    assert not end


@given(st.sampled_from([*errno.errorcode]), st.sampled_from([None, "a/file", b"a/file", 3]))
def test_whatever_is_refused_is_one_line(number: int, name: str | bytes | int | None) -> None:
    """It holds the name, where there is one, and the reason."""
    line = explain_os_error(OSError(number, os.strerror(number), name))
    assert os.strerror(number) in line
    assert "\n" not in line
    assert line.startswith("a/file: ") == isinstance(name, (str, bytes))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "a/file"), OSError(28, "No space left")])
def test_a_refusal_anywhere_is_one_line(trained: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """Also where nobody thought of it."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("nmt.storage.bundle.load_model", refuse)
    result = run("translate", trained, stdin=b"x\n")
    assert result.exit_code == 1
    assert result.stderr == f"nmt: {explain_os_error(error)}\n"


def test_a_full_disk_shows_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking an output creates nothing, and reports a lack of space with the path."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    check_output(tmp_path / "new" / "file")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(NmtError, match=r"new/file: cannot be written .No space left"):
        check_output(tmp_path / "new" / "file")


def test_a_device_is_no_folder() -> None:
    """It is refused before the work, and may stand in the place of a file."""
    check_output(Path(os.devnull))
    with pytest.raises(NmtError, match="is a file; a folder is to be written"):
        check_output(Path(os.devnull), folder=True)


def test_what_is_read_is_not_overwritten(trained: Path, tmp_path: Path) -> None:
    """By whatever path it is named."""
    text = tmp_path / "text"
    text.write_text("eins zwei\n" * 9)
    (tmp_path / "link").symlink_to(text)
    for arguments in (("translate", trained, text), ("tokenizer", "train", text, "--kind", "word")):
        result = run(*arguments, "--output", tmp_path / "link")
        assert result.exit_code == 1
        assert "is read by this command" in result.stderr
    (tmp_path / "other").write_text("eins drei\n" * 9)
    for option, path in (("--save", text), ("--save", tmp_path / "link"), ("--save", tmp_path / "other")):
        result = run("compare", text, tmp_path / "other", "-t", f"{text}:{tmp_path / 'other'}", option, path)
        assert (result.exit_code, "is read by this command" in result.stderr) == (1, True)
    assert text.read_text() == "eins zwei\n" * 9
    assert (tmp_path / "other").read_text() == "eins drei\n" * 9


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    """The picture would have been lost under the figures."""
    (tmp_path / "text").write_text("eins zwei\n" * 9)
    both = ("--plot", tmp_path / "a.png", "--save", tmp_path / "a.png")
    result = run("compare", tmp_path / "text", "-t", f"{tmp_path / 'text'}:{tmp_path / 'text'}", *both)
    assert (result.exit_code, "is named by --plot and by --save" in result.stderr) == (1, True)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("ending", [".part", ".part.json"])
def test_what_is_read_is_no_draft_of_the_output(trained: Path, tmp_path: Path, ending: str) -> None:
    """It was emptied, and then renamed to the output."""
    text = tmp_path / f"out{ending}"
    text.write_text("eins zwei\n")
    result = run("translate", trained, text, "--output", tmp_path / "out")
    assert (result.exit_code, "is read by this command" in result.stderr) == (1, True)
    assert text.read_text() == "eins zwei\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model/weights.safetensors", "model/MANIFEST.json", "recipe.toml", "log.jsonl"])
def test_parts_of_a_model_are_no_output(tmp_path: Path, name: str) -> None:
    """What else lies in its folder may be written."""
    for place in (tmp_path / "model" / "MANIFEST.json", tmp_path / "checkpoints" / "best.json", tmp_path / name):
        place.parent.mkdir(exist_ok=True)
        place.touch()
    with pytest.raises(NmtError, match="is part of a model"):
        check_output(tmp_path / name)
    other = (tmp_path / name).with_name("out.en")
    other.touch()
    check_output(other)


def test_without_a_home_a_line_names_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME and no entry in passwd; or a folder that cannot be written, before anything is read."""
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(make_recipe(data={"limit": 7})))
    monkeypatch.setattr("nmt_data.prepare.TextReader.read", lambda *_: pytest.fail("the work has begun"))
    monkeypatch.setenv("NMT_HOME", "/proc/home")
    refused = run("prepare", tmp_path / "recipe.toml")
    assert refused.exit_code == 1
    assert "cannot be written" in refused.stderr
    assert "set NMT_HOME" in refused.stderr

    def nobody() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", nobody)
    monkeypatch.delenv("NMT_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert "set NMT_HOME" in run("prepare", tmp_path / "recipe.toml").stderr
    (kernels,) = build._places()  # a temporary one; to translate no home is needed
    assert kernels.is_relative_to(tempfile.gettempdir())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home_folder() == tmp_path / "nmt"


def _shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    full = command.replace("nmt ", " ".join(NMT) + " ")
    return subprocess.run(
        ["sh", "-c", full], capture_output=True, text=True, cwd=folder, env=environment(), check=False
    )


def test_closed_and_full_streams(tmp_path: Path) -> None:
    """What needs the stream is refused in one line; what does not works, and files hold what belongs into them alone."""
    (tmp_path / "text").write_text("eins zwei drei vier\n" * 20)
    train = "nmt tokenizer train text --kind word --output"
    for name, streams in (("a", "2>&-"), ("b", "<&- >&- 2>&-"), ("c", "2> /dev/full")):
        assert _shell(f"{train} {name}.spm {streams}", tmp_path).returncode == 0
    models = [(tmp_path / f"{name}.spm").read_bytes() for name in "abc"]
    assert models[1:] == models[:-1]
    for command, reason in (
        ("nmt tokenizer encode a.spm <&-", "standard input is closed; name a file"),
        ("nmt tokenizer encode a.spm < text >&-", "standard output is closed, and the results go there"),
        ("nmt data list >&-", "standard output is closed, and the results go there"),
        ("nmt data list > /dev/full", "no room to write (No space left on device)"),
    ):
        done = _shell(command, tmp_path)
        assert (done.returncode, done.stderr) == (1, f"nmt: {reason}\n"), command


@pytest.mark.parametrize("charset", ["ascii", "latin-1", "utf-16"])
def test_results_are_utf8_whatever_the_locale(trained: Path, charset: str) -> None:
    """As all text is that is read."""
    sentence = "der Hund — 狗 schläft .\n".encode()
    for arguments in (("attend", str(trained)), ("attend", str(trained), "--format", "json"), ("data", "list")):
        shown = CliRunner(charset=charset).invoke(app, arguments, input=sentence)
        assert shown.exit_code == 0, shown.exception
        assert shown.stdout_bytes == run(*arguments, stdin=sentence).stdout_bytes


def test_names_that_are_not_utf8(tmp_path: Path, trained: Path) -> None:
    """They are read, written, printed as they are, and kept in JSON."""
    folder = tmp_path / os.fsdecode(b"\xff\xe4")
    folder.mkdir()
    (folder / "in").write_text("der Hund schläft .\n")
    result = run("translate", trained, folder / "in", "--output", folder / "out")
    assert result.exit_code == 0, result.output
    assert (folder / "out").read_text().count("\n") == 1
    (folder / "text").write_text("eins zwei drei\n" * 20)
    assert run("tokenizer", "train", folder / "text", "--output", folder / "x.spm", "--kind", "word").exit_code == 0
    write_json(folder / "x.json", {"path": str(folder)})
    assert json.loads((folder / "x.json").read_bytes()) == {"path": str(folder)}


def test_attend_reads_as_translate_does(tmp_path: Path, trained: Path) -> None:
    """A byte-order mark, line ends of Windows and bytes that are not UTF-8, from a file and from a pipe."""
    text = b"\xef\xbb\xbfder Hund schl\xc3\xa4ft .\r\n\r\n\xff Hund\r\nein Mann"
    (tmp_path / "in").write_bytes(text)
    file, pipe = run("attend", trained, tmp_path / "in"), run("attend", trained, stdin=text)
    assert file.stdout == pipe.stdout
    assert "\ufeff" not in pipe.stdout
    assert pipe.stdout == run("attend", trained, stdin="der Hund schläft .\n\n\ufffd Hund\nein Mann\n".encode()).stdout
    assert "1 lines held bytes that are not UTF-8" in pipe.stderr
