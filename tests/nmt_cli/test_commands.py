"""The command line: results on stdout, one clear line for what is wrong, exit codes that scripts can trust."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command import NMT, check_dialogue, environment, run, start
from nmt.config.reading import recipe_to_toml
from nmt.corpus.lines import read_lines, write_lines
from nmt_data.synthetic import phrasebook
from tiny import make_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_to_toml(make_recipe()))
    return path


def test_three_lines_in_three_lines_out(trained: Path) -> None:
    """A blank line and a line separator inside a line are no reason to lose or add one."""
    result = run("translate", trained, stdin=b"Ein Hund.\n\n\xe2\x80\xa8x\n")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 3
    assert result.stdout.split("\n")[1] == ""


def test_missing_kernels_are_said(trained: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search and training go on without them, more slowly: one line says why, and nothing of it is on stdout."""
    monkeypatch.setattr("nmt.fast.kernels.why_missing", lambda: "there is no C compiler")
    searched = run("translate", trained, "--device", "cpu", stdin=b"Ein Hund.\n")
    options = ("--run", tmp_path / "run", "--set", "training.updates=1", "--device", "cpu")
    learnt = run("train", recipe, *options)
    assert "search is slower than it could be: there is no C compiler" in searched.stderr
    assert "training is slower than it could be: there is no C compiler" in learnt.stderr
    assert "slower" not in searched.stdout + learnt.stdout


def test_bad_bytes_keep_their_line(trained: Path) -> None:
    """Replaced, counted on stderr, also without a final line feed, and with NUL and carriage returns."""
    result = run("translate", trained, stdin=b"Ein \xff Hund.\r\n\x00\nEin Hund.")
    assert result.stdout.count("\n") == 3
    assert "1 lines held bytes that are not UTF-8" in result.stderr


def test_files_in_and_out(trained: Path, tmp_path: Path) -> None:
    """With `--output`, the file holds what stdout would show, and no partial file remains."""
    source, target = tmp_path / "in", tmp_path / "out"
    write_lines(source, [pair[0] for pair in phrasebook.split("test")[:5]])
    assert run("translate", trained, source, "--output", target, "--beam", "1").exit_code == 0
    assert len(read_lines(target)) == 5
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    assert read_lines(target) == run("translate", trained, source, "--beam", "1").stdout.split("\n")[:-1]


def test_n_best_and_score_agree(trained: Path, tmp_path: Path) -> None:
    """The log-probability beside a translation is the one that forced decoding gives it."""
    line = phrasebook.split("test")[1][0]
    rows = [
        row.split("\t") for row in run("translate", trained, "--n-best", "3", stdin=line.encode()).stdout.splitlines()
    ]
    assert [row[0] for row in rows] == ["0", "0", "0"]
    write_lines(tmp_path / "s", [line] * 3)
    write_lines(tmp_path / "t", [row[3] for row in rows])
    result = run("score", trained, tmp_path / "s", tmp_path / "t", "--json")
    forced = [json.loads(row) for row in result.stdout.splitlines()]
    # A segmentation that the tokenizer would not choose scores otherwise; the best one is nearly always its own.
    assert forced[0]["log_probability"] == pytest.approx(float(rows[0][2]), abs=1e-3)
    assert forced[0]["per_token"] == pytest.approx(forced[0]["log_probability"] / forced[0]["tokens"])


def test_evaluate_prints_signatures_and_scores_files(trained: Path, tmp_path: Path) -> None:
    """Evaluation prints its signature, scores a perfect file perfectly, and refuses one of another length."""
    pairs = phrasebook.split("test")[:20]
    write_lines(tmp_path / "s", [source for source, _ in pairs])
    write_lines(tmp_path / "r", [target for _, target in pairs])
    files = f"{tmp_path / 's'}:{tmp_path / 'r'}"
    shown = run("evaluate", trained, "-t", files, "--beam", "1")
    assert shown.exit_code == 0
    assert "tok:13a" in shown.stdout
    perfect = run("evaluate", trained, "-t", files, "--hypothesis", tmp_path / "r", "--json", "--lowercase")
    scores = json.loads(perfect.stdout)[0]["scores"]
    assert [round(score["value"]) for score in scores] == [100, 100, 0, 100]
    write_lines(tmp_path / "short", ["one"])
    refused = run("evaluate", trained, "-t", files, "--hypothesis", tmp_path / "short")
    assert refused.exit_code == 1
    assert "1 translations but 20 references" in refused.stderr


@pytest.mark.slow
def test_compare_shows_systems_side_by_side(trained: Path, tmp_path: Path) -> None:
    """The comparison of two systems prints sizes and signatures, and saves a plot and all translations."""
    other = tmp_path / "trained-other"
    shutil.copytree(trained / "model", other)
    arguments = (
        "--testset",
        "valid",
        "--beam",
        "1",
        "--plot",
        tmp_path / "x.png",
        "--save",
        tmp_path / "x.json",
        "--lowercase",
    )
    result = run("compare", trained, other, *arguments)
    assert result.exit_code == 0, result.stderr
    assert "BLEU lower-cased: nrefs:1|bs:1000|seed:12345|case:lc" in result.stdout
    assert f"{json.loads(run('info', trained, '--json').stdout)['parameters']:,}" in result.stdout
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    saved = json.loads((tmp_path / "x.json").read_text())
    assert len(saved["trained"]["translations"]["valid"]) == 500


def test_train_prepare_info_and_data(recipe: Path, tmp_path: Path) -> None:
    """The main path through the commands, on a tiny recipe."""
    folder = tmp_path / "run"
    result = run("train", recipe, "--run", folder, "--set", "training.updates=4", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(folder / "model")
    assert "padding" in result.stderr
    assert list((folder / "tensorboard").glob("events.*"))
    facts = json.loads(run("info", folder, "--json").stdout)
    assert facts["card"]["updates"] == 4
    assert facts["parameters"] == sum(facts["by_part"].values()) > 0
    assert f"parameters    {facts['parameters']:,}\n" in run("info", folder).stdout
    assert json.loads(run("prepare", recipe, "--json").stdout)["train"]["kept"] == 600
    assert "pairs kept" in run("prepare", recipe).stdout
    shown = run("data", "show", recipe, "--step", "2")
    assert all(len(row.split("\t")) == 3 for row in shown.stdout.splitlines())
    on_gpu = run("data", "show", recipe, "--step", "2", "--device", "cuda")
    assert on_gpu.exit_code == 0, on_gpu.stderr
    assert all(len(row.split("\t")) == 3 for row in on_gpu.stdout.splitlines())
    assert on_gpu.stdout != shown.stdout
    assert "multi30k" in run("data", "list").stdout


@pytest.mark.slow
def test_a_budget_is_kept(recipe: Path, tmp_path: Path) -> None:
    """`--budget` plans the updates, ends near the time, and the learning rate has come down."""
    result = run(
        "train", recipe, "--run", tmp_path / "r", "--budget", "6s", "--device", "cpu", "--set", "training.log_every=1"
    )
    assert result.exit_code == 0, result.stderr
    log = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    last = [entry for entry in log if entry["kind"] == "train"][-1]
    peak = max(entry["learning_rate"] for entry in log if entry["kind"] == "train")
    assert 3 < last["seconds"] < 9
    assert last["learning_rate"] < 0.1 * peak
    refused = run("train", recipe, "--run", tmp_path / "q", "--budget", "6s", "--set", "training.schedule=constant")
    assert "a budget needs a schedule that ends" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "RECIPE", "--set", "training.updtes=3"), "unknown key training.updtes (did you mean updates?)"),
        (("train", "missing.toml"), "no such recipe"),
        (("translate", "missing"), "no such folder"),
        (("translate", "TRAINED", "missing.txt"), "missing.txt: No such file or directory"),
        (("translate", "TRAINED", "--length-penalty", "avrage"), "length_penalty must be"),
        (("translate", "TRAINED", "--device", "tpu"), "device must be auto, cpu, cuda or cuda:n"),
        (("evaluate", "TRAINED", "--testset", "tset"), "no test set tset; this corpus has long, test, valid"),
        (("recipes", "--folder", "missing"), "no recipes here"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_1(
    trained: Path, recipe: Path, arguments: tuple[str, ...], message: str
) -> None:
    """A user's mistake gives its message on stderr, exit code 1 and no traceback."""
    places = {"RECIPE": str(recipe), "TRAINED": str(trained)}
    result = run(*(places.get(argument, argument) for argument in arguments))
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_truncated_checkpoint_is_one_line(trained: Path, tmp_path: Path) -> None:
    """Weights cut short make translation fail with a message that names the damaged file."""
    broken = tmp_path / "broken"
    shutil.copytree(trained / "model", broken)
    weights = broken / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    result = run("translate", broken, stdin=b"x\n")
    assert result.exit_code == 1
    assert "damaged: weights.safetensors has" in result.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, trained: Path) -> None:
    """An unexpected exception inside a command reaches the caller instead of becoming a user error."""

    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("nmt.storage.bundle.load_model", bug)
    assert isinstance(run("translate", trained, stdin=b"x\n").exception, ZeroDivisionError)


def test_wrong_usage_exits_with_2() -> None:
    """A missing argument or an unreadable option value gives exit code 2."""
    assert run("train").exit_code == 2
    assert run("train", "x", "--budget", "soon").exit_code == 2


def test_recipes_and_schema() -> None:
    """The command lists the shipped recipes and prints the recipe schema as JSON."""
    root = Path(__file__).parents[2]
    assert "phrasebook-attention" in run("recipes", "--folder", root / "recipes").stdout
    assert json.loads(run("recipes", "--schema").stdout)["title"] == "Recipe"


def test_tokenizer_on_files_and_pipes(tmp_path: Path) -> None:
    """Encoding and then decoding restores the bytes, as pieces and as ids; unknown ids are refused."""
    text = [source for source, _ in phrasebook.split("test")[:200]]
    write_lines(tmp_path / "text", text)
    model = tmp_path / "x.spm"
    assert run("tokenizer", "train", tmp_path / "text", "--output", model, "--vocabulary", "300").exit_code == 0
    stdin = "".join(f"{line}\n" for line in text).encode()
    for flags in ([], ["--ids"]):
        tokens = run("tokenizer", "encode", model, *flags, stdin=stdin)
        assert run("tokenizer", "decode", model, *flags, stdin=tokens.stdout_bytes).stdout_bytes == stdin
    assert "token ids go from 0 to 299" in run("tokenizer", "decode", model, "--ids", stdin=b"300\n").stderr


@pytest.mark.slow
def test_a_tokenizer_answers_a_pipe_as_lines_come(trained: Path) -> None:
    """Each line comes out before the next goes in."""
    model = next((trained / "model").glob("*.spm"))
    with start("tokenizer", "encode", str(model), stdout=subprocess.PIPE) as process:
        check_dialogue(process, (b"der Hund\n", b"eins\n"))


@pytest.mark.parametrize("kind", ["word", "byte"])
def test_a_tokenizer_without_its_text_is_one_line(tmp_path: Path, kind: str) -> None:
    """A missing file and a line that is not UTF-8 are named, also after a file that is sound, and where no text is needed."""
    (tmp_path / "good").write_text("a b c\n" * 100)
    (tmp_path / "bad").write_bytes(b"a\n\xff\n")
    for name, reason in (("none", "No such file or directory"), ("bad", "line 2: byte 1 (0xff)")):
        given = tmp_path / "good", tmp_path / name, "--output", tmp_path / "x.spm"
        outcome = run("tokenizer", "train", *given, "--kind", kind)
        assert outcome.exit_code == 1
        assert f"{tmp_path / name}" in outcome.stderr
        assert reason in outcome.stderr
        assert "vocabulary" not in outcome.stderr
        assert outcome.stderr.count("\n") == 1


def test_version_and_help_answer_without_torch() -> None:
    """Nothing heavy is imported to print help; torch least of all."""
    code = (
        "import sys; sys.argv = ['nmt', '--help']\n"
        "from nmt_cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'datasets', 'sacrebleu', 'sentencepiece', 'matplotlib', 'pyarrow'}\n"
        "print('HEAVY', sorted(heavy & sys.modules.keys()))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert "HEAVY []" in shown.stdout
    times: list[float] = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([*NMT, "--help"], capture_output=True, check=True, env=environment())
        times.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
    assert min(times) < 1.0  # about 0.3 s on a quiet machine; the imports above are what keeps it so


@pytest.mark.slow
def test_training_and_translation_load_no_compiler_and_no_tables(recipe: Path, tmp_path: Path) -> None:
    """The compiler of torch costs each process two seconds and 180 MB, pandas 0.4 seconds; the corpus is prepared."""
    assert run("prepare", recipe).exit_code == 0
    code = (
        "import sys\n"
        "from nmt_cli.main import app\n"
        f"for verb in (['train', {str(recipe)!r}, '--run', 'run'], ['translate', 'run', {str(recipe)!r}, '--output', 'out']):\n"
        "    sys.argv = ['nmt', *verb]\n"
        "    try: app()\n"
        "    except SystemExit as end: assert not end.code\n"
        "print('HEAVY', sorted({'torch._dynamo', 'torch.distributed.fsdp', 'pandas'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path, check=False)
    assert "HEAVY []" in shown.stdout, shown.stderr


def test_a_reader_that_goes_away_ends_quietly(trained: Path) -> None:
    """`| head -1`: no traceback, an exit code that is not 0."""
    lines = "".join(f"{source}\n" for source, _ in phrasebook.split("test")[:50]).encode()
    process = start("translate", str(trained), "--beam", "1", stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    _, complaints = process.communicate(lines, timeout=120)
    assert process.returncode != 0
    assert b"Traceback" not in complaints


def test_an_interrupted_output_file_is_not_there(trained: Path, tmp_path: Path) -> None:
    """^C in the middle: exit code 130, no half-written file under the name that was asked for."""
    target = tmp_path / "out"
    process = start("translate", str(trained), "--output", str(target))
    assert process.stdin
    process.stdin.write(b"Ein Hund.\n")
    process.stdin.flush()
    deadline = time.time() + 60
    while not (tmp_path / "out.part").exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    _, complaints = process.communicate()
    assert process.returncode == 130, complaints
    assert not target.exists()
    assert b"Traceback" not in complaints


def test_average_makes_a_model_of_the_last_checkpoints(trained: Path, tmp_path: Path) -> None:
    """A bundle that translates; asking for more than there are is refused."""
    shown = run("average", trained, "-o", tmp_path / "mean", "--last", "2")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.strip() == str(tmp_path / "mean")
    assert run("translate", tmp_path / "mean", stdin=b"Ein Hund.\n").stdout.count("\n") == 1
    _check_provenance(trained, tmp_path)
    again = run("average", trained, "-o", tmp_path / "mean", "--last", "2")
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    many = run("average", trained, "-o", tmp_path / "many", "--last", "20")
    assert (many.exit_code, "2 checkpoints, --last asks for 20" in many.stderr) == (1, True)
    older = tmp_path / "older"  # has a best checkpoint that is older than the last ones, and is kept beside them
    shutil.copytree(trained, older)
    recipe = (older / "recipe.toml").read_text()
    (older / "recipe.toml").write_text(recipe.replace("keep = 3\n", "keep = 1\n"))
    assert "mean of 1 checkpoints" in run("average", older, "-o", tmp_path / "newest").stderr


def _check_provenance(trained: Path, place: Path) -> None:
    """A mean says what the run's own model says of the training, and no score; without that model, what checkpoints know."""
    bare = place / "bare"
    shutil.copytree(trained, bare, ignore=shutil.ignore_patterns("model"))
    assert run("average", bare, "-o", place / "unfinished", "--last", "1").exit_code == 0
    own, mean, unfinished = (
        json.loads((folder / "card.json").read_text())
        for folder in (trained / "model", place / "mean", place / "unfinished")
    )
    kept = own.keys() - {"checkpoint", "checkpoints", "validation", "seconds", "tokens_per_second"}
    assert {key: own[key] for key in kept} == {key: mean[key] for key in kept}
    assert "validation" not in mean
    for key in ("corpus", "updates", "target_tokens", "seed", "precision", "vocabulary"):
        assert unfinished[key] == own[key]
    assert run("data", "suspects", place / "mean", "--count", "1").exit_code == 0
