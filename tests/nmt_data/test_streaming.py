"""A corpus passes in shards through any number of processes: the result is that of lists in memory, and survives kills."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import environment
from nmt.config.data import TokenizerConfig, TokenKind
from nmt.config.reading import recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.known_words import LineEncoder
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import Tokenizer
from nmt.corpus.words import Normaliser, normalise
from nmt.runtime.files import file_sha256, home_folder
from nmt_data import means, selecting, streams
from nmt_data import prepare as module
from nmt_data.means import Means
from nmt_data.prepare import prepare
from tiny import make_recipe

Pair = tuple[str, str]
WORDS = ["der", "die", "ein", "Hund", "Haus", "läuft", "sieht", "rot", "grün", "heute,", "morgen!", "und", "Über"]
ONE = Means(processes=1, memory=1_000_000_000)


def _pairs(count: int, seed: int = 1) -> list[Pair]:
    """Pairs among which some are empty, repeated, or repeated but for case and signs."""
    generator = random.Random(seed)
    pairs: list[Pair] = []
    for _ in range(count):
        kind = generator.random()
        if pairs and kind < 0.2:
            source, target = generator.choice(pairs)
            pairs.append((source.upper() + " !", target) if kind < 0.1 else (source, target))
        else:
            words = generator.choices(WORDS, k=generator.randrange(6))
            pairs.append((" ".join(words), " ".join(word[::-1] for word in words) + "."))
    return pairs


def _recipe(folder: Path, pairs: list[Pair], rest: str = "valid = 7\ntest = 5", **data: Any) -> Recipe:
    for side, language in enumerate(("de", "en")):
        (folder / f"train.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
        (folder / f"given.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs[3:9]), encoding="utf-8")
    (folder / "card.toml").write_text(
        'name = "mine"\ntitle = "t"\nlicence = "l"\nlanguages = ["de", "en"]\n'
        f'splits = {{ train = "train.{{language}}", given = "given.{{language}}" }}\n[holdout]\n{rest}\n'
    )
    values = {"corpus": str(folder / "card.toml"), "source": "de", "target": "en", "limit": None}
    return make_recipe(data=values | data, tokenizer={"vocabulary": 200})


def _by_lists(pairs: list[Pair], duplicates: str, drop_leaked: bool) -> dict[str, list[Pair]]:
    """What `nmt prepare` must make of pairs, in lists in memory."""

    def key(pair: Pair) -> Pair:
        return pair if duplicates == "exact" else (normalise(pair[0]), normalise(pair[1]))

    stripped = [(source.strip(), target.strip()) for source, target in pairs]
    train = [pair for pair in stripped if all(pair)]
    if duplicates != "keep":
        train = list({key(pair): pair for pair in reversed(train)}.values())[::-1]
        train.sort(key=lambda pair: next(row for row, other in enumerate(stripped) if key(other) == key(pair)))
    digests = [hashlib.sha256(normalise(source).encode()).digest() for source, _ in train]
    order = sorted(range(len(train)), key=lambda row: (digests[row], train[row][1]))
    first = {digests[row]: row for row in reversed(order)}
    chosen = [first[digest] for digest in sorted(first)]
    rows = {"valid": sorted(chosen[:7]), "test": sorted(chosen[7:12])}
    found = {name: [train[row] for row in rows[name]] for name in rows} | {"given": pairs[3:9]}
    sets = ["valid", "test", *(["given"] if drop_leaked else [])]
    known = {normalise(side) for name in sets for pair in found[name] for side in pair}
    taken = {row for held in rows.values() for row in held}
    found["train"] = [
        pair for row, pair in enumerate(train) if row not in taken and known.isdisjoint(map(normalise, pair))
    ]
    return found


def _found(prepared: Prepared) -> dict[str, list[Pair]]:
    sets = {name: prepared.testset(name) for name in ("valid", "test", "given")} | {"train": prepared.training_text()}
    return {name: list(zip(item.source, item.target, strict=True)) for name, item in sets.items()}


def _bytes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("report.json", "MANIFEST.json"))
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


@pytest.mark.parametrize("drop_leaked", [False, True])
@pytest.mark.parametrize("duplicates", ["keep", "exact", "normalised"])
@pytest.mark.parametrize("size", [7, 60, 10_000])
def test_shards_of_any_size_give_what_lists_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path, size: int, duplicates: str, drop_leaked: bool
) -> None:
    """Repeated pairs are found across shards, the same ones are held out, and what is trained on is in order."""
    monkeypatch.setattr(streams, "SIZE", size)
    pairs = _pairs(400)
    recipe = _recipe(tmp_path, pairs, cleaning={"duplicates": duplicates, "drop_leaked": drop_leaked})
    prepared = prepare(recipe, means=ONE)
    assert _found(prepared) == _by_lists(pairs, duplicates, drop_leaked)
    encoded = prepared.train.source
    tokens = prepared.tokenizers.source.encode(prepared.training_text().source)
    assert [encoded.rows(row, row + 1).values.tolist() for row in range(len(tokens))] == tokens


def test_processes_and_memory_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The prepared folder is the same to the byte."""
    recipe = _recipe(tmp_path, _pairs(300), cleaning={"duplicates": "normalised"})
    whole = prepare(recipe, means=ONE)
    expected, report = _bytes(whole.folder), {**whole.report, "seconds": 0}
    monkeypatch.setattr(streams, "SIZE", 40)
    monkeypatch.setattr(means, "_ALONE", 1)
    monkeypatch.setenv("NMT_HOME", str(tmp_path / "other"))
    shared = prepare(recipe, means=Means(processes=2, memory=500_000_000))
    assert shared.folder.name == whole.folder.name
    assert _bytes(shared.folder) == expected
    assert {**shared.report, "seconds": 0} == report


def test_a_stage_that_was_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A preparation that failed late goes on there; nothing is left of it when it ends."""
    recipe = _recipe(tmp_path, _pairs(300))
    monkeypatch.setenv("NMT_HOME", str(tmp_path / "own"))

    def fail(*_: object) -> None:
        raise OSError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_train", fail)
        with pytest.raises(OSError, match="the power is gone"):
            prepare(recipe)
    assert [path.suffix for path in (home_folder() / "corpora").iterdir()] == [".unfinished"]
    monkeypatch.setattr("nmt_data.texts.gather", fail)
    monkeypatch.setattr(module, "train_tokenizers", fail)
    said: list[str] = []
    assert len(prepare(recipe, said.append).train)
    assert [line.split(" already")[0] for line in said if "already" in line] == [
        "read",
        "selected",
        "tokenizer trained",
    ]
    assert [path.suffix for path in (home_folder() / "corpora").iterdir()] == [""]


def test_what_a_kill_leaves_beside_the_shards_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Folders and files of a search for repeated pairs that did not end."""
    recipe = _recipe(tmp_path, _pairs(300), cleaning={"duplicates": "exact"})
    expected = _bytes(prepare(recipe, means=ONE).folder)
    monkeypatch.setenv("NMT_HOME", str(tmp_path / "other"))

    def killed(folder: Path, *_: object) -> None:
        for name in ("found", "found-left", "spilled"):
            (folder / name).mkdir()
            (folder / name / "0.parquet").write_bytes(b"half of it")
        raise OSError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(selecting, "repeated_rows", killed)
        with pytest.raises(OSError, match="the power is gone"):
            prepare(recipe, means=ONE)
    assert _bytes(prepare(recipe, means=ONE).folder) == expected


@pytest.mark.slow
@pytest.mark.thorough
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path: Path, home: Path) -> None:
    """Kill -9 of `nmt prepare` with two processes, again and again; no process outlives it, and nothing is left behind."""
    pairs = [
        (f"{source} {number}", f"{number} {target}") for number, (source, target) in enumerate(_pairs(6000)) if source
    ]
    recipe = _recipe(tmp_path, pairs, cleaning={"duplicates": "exact"})
    expected = _bytes(prepare(recipe, means=ONE).folder)
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(recipe), encoding="utf-8")
    runs = tmp_path / "killed"
    small = "from nmt_data import means, streams; means._ALONE = 1; streams.SIZE = 1000; from nmt_cli.main import app; app()"
    command = [sys.executable, "-c", small, "prepare", str(tmp_path / "recipe.toml"), "--processes", "2"]
    generator, kills = random.Random(3), 0
    while True:
        process = subprocess.Popen(
            command, env={**environment(), "NMT_HOME": str(runs)}, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            assert process.wait(1 + (3 + kills) * generator.random()) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert kills < 30
    (folder,) = [path for path in (runs / "corpora").iterdir() if not path.name.startswith(".")]
    assert _bytes(folder) == expected
    deadline = time.monotonic() + 10
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(process.pid)


def _alive(session: int) -> bool:
    """Whether a process of a session lives."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return True
    return False


@settings(deadline=None)
@given(st.text("aAßİiı,.!-\u0308\u00a8\u3000 \u200bé1ﬁ한ไ"), st.sampled_from(["", "de", "tr"]))
def test_words_are_normalised_like_lines(line: str, language: str) -> None:
    """Word by word, as `Normaliser` does, nothing changes."""
    assert Normaliser(language)(line) == normalise(line, language)


@pytest.fixture(scope="module", params=["bpe", "word", "character", "byte", "unigram"])
def encoder(request: pytest.FixtureRequest) -> tuple[LineEncoder, Tokenizer]:
    """A tokenizer of each kind, and what encodes lines with it."""
    kind: TokenKind = request.param
    lines = [f"{source} ﬁn é {target}" for source, target in _pairs(300)]
    symbols = () if kind == "byte" else ("<2de>", "@@")
    tokenizer = Tokenizer.train(lines, TokenizerConfig(kind=kind, vocabulary=60, user_symbols=symbols))
    return LineEncoder(tokenizer, kind), tokenizer


@settings(deadline=None)
@given(st.lists(st.text("derHundlft ,!\u0308\u00a8\u3000\u200béﬁ<2>@xyz한\u2581"), max_size=6))
def test_lines_of_known_words_have_the_same_tokens(encoder: tuple[LineEncoder, Tokenizer], lines: list[str]) -> None:
    """Whatever is beside a word, and however often it was seen."""
    encode, tokenizer = encoder
    for _ in range(2):
        ragged = encode(lines)
        assert [ragged.rows(row, row + 1).values.tolist() for row in range(len(lines))] == tokenizer.encode(lines)
