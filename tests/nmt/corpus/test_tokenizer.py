"""Tokenizers: text comes back, ids are fixed, training does not depend on the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command import run
from nmt.config.data import TokenizerConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from nmt.errors import CheckpointError, DataError

LINES = [f"der Hund {i} sieht die Katze und den {'Ball' if i % 2 else 'Baum'} nicht" for i in range(200)]
Kind = Literal["unigram", "bpe", "word", "character"]


@pytest.mark.parametrize("kind", ["unigram", "bpe", "word", "character"])
def test_text_comes_back(kind: Kind) -> None:
    """Decoding inverts encoding for every kind of tokenizer, and special tokens have their fixed ids."""
    tokenizer = Tokenizer.train(LINES, TokenizerConfig(kind=kind, vocabulary=50 if kind != "word" else 300))
    assert tokenizer.decode(tokenizer.encode(LINES)) == LINES
    assert tokenizer.decode_pieces(tokenizer.encode_pieces(LINES)) == LINES
    assert tokenizer.pieces()[:4] == ["<pad>", "<unk>", "<s>", "</s>"]
    assert not {PAD, BOS, EOS, UNK}.intersection(*map(set, tokenizer.encode(LINES)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_text_can_be_encoded(lines: list[str]) -> None:
    """One sequence a line; decoding never makes a line break."""
    ids = TOKENIZER.encode(lines)
    assert len(ids) == len(lines)
    assert all("\n" not in line for line in TOKENIZER.decode(ids))


TOKENIZER = Tokenizer.train(LINES, TokenizerConfig(kind="bpe", vocabulary=300, byte_fallback=True))


def test_byte_fallback_spells_what_it_never_saw() -> None:
    """A character absent from the training text survives encoding and decoding."""
    assert TOKENIZER.decode(TOKENIZER.encode(["猫"])) == ["猫"]


SPACES = "\u00a0\u2009\u202f\u3000\u200b"
SPACED = Tokenizer.train(
    [f"a{space}b {space}c {space} 猫{space}" for space in SPACES] * 9,
    TokenizerConfig(kind="bpe", vocabulary=21, normalization="identity"),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(f"abc猫x {SPACES}", max_size=9), min_size=1, max_size=5), st.booleans())
def test_what_is_encoded_is_decoded_by_the_command(tmp_path: Path, lines: list[str], ids: bool) -> None:
    """White space of every kind is text, at the ends of a line too; SentencePiece makes one of plain spaces in a row."""
    lines = [line.replace("x", "a") for line in lines] if ids else lines  # ids do not say what an unknown character was
    SPACED.save(tmp_path / "spm")
    options = ["--ids"] if ids else []
    encoded = run(
        "tokenizer", "encode", tmp_path / "spm", *options, stdin="".join(f"{line}\n" for line in lines).encode()
    )
    decoded = run("tokenizer", "decode", tmp_path / "spm", *options, stdin=encoded.stdout_bytes)
    assert decoded.stdout.split("\n") == [re.sub(" +", " ", line).strip(" ") for line in lines] + [""]


def test_tokens_that_are_bytes_make_no_line() -> None:
    """A newline spelled as a byte token is decoded as a space."""
    assert TOKENIZER.decode_pieces([["<0x0A>", "<0x41>", "\u2581Hund"]]) == ["A Hund"]


def test_each_unknown_word_is_one_token() -> None:
    """SentencePiece alone makes one token of those in a row."""
    tokenizer = Tokenizer.train(LINES, TokenizerConfig(kind="word", vocabulary=300))
    line = "der Kater und die <s> Zwiebel Katze \u2581\u2581"
    (pieces,), (ids,) = tokenizer.encode_pieces([line]), tokenizer.encode([line])
    assert pieces == [f"\u2581{word}" for word in ["der", "Kater", "und", "die", "<s>", "Zwiebel", "Katze"]]
    assert tokenizer.decode_pieces([pieces]) == ["der Kater und die <s> Zwiebel Katze"]
    known = {piece: index for index, piece in enumerate(tokenizer.pieces())}
    assert ids == [known.get(piece, UNK) for piece in pieces]


def test_training_twice_gives_the_same_vocabulary() -> None:
    """Training a tokenizer is deterministic: equal text and settings give equal fingerprints."""
    config = TokenizerConfig(kind="unigram", vocabulary=50)
    assert Tokenizer.train(LINES, config).fingerprint == Tokenizer.train(LINES, config).fingerprint


def test_user_symbols_stay_whole() -> None:
    """A symbol declared by the user is encoded as a single piece."""
    tokenizer = Tokenizer.train(LINES, TokenizerConfig(vocabulary=50, user_symbols=("<2en>",)))
    assert "<2en>" in tokenizer.encode_pieces(["<2en> Hund"])[0]


def test_too_large_a_vocabulary_is_one_line() -> None:
    """A vocabulary that the text cannot fill is an error naming the setting."""
    with pytest.raises(DataError, match=r"tokenizer\.vocabulary = 5000"):
        Tokenizer.train(LINES, TokenizerConfig(vocabulary=5000))


@pytest.mark.parametrize("error", [DataError("no text"), KeyboardInterrupt(), ValueError("bad")])
def test_an_error_of_the_text_is_raised_as_it_is(error: BaseException) -> None:
    """What the reading of the lines raises is not taken for one of the vocabulary."""

    def lines() -> Iterator[str]:
        yield from LINES
        raise error

    with pytest.raises(type(error)) as caught:
        Tokenizer.train(lines(), TokenizerConfig(vocabulary=50))
    assert caught.value is error


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    """Loading a damaged or missing tokenizer raises a checkpoint error naming the file."""
    (tmp_path / "x.spm").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"x\.spm"):
        Tokenizer.load(tmp_path / "x.spm")
    with pytest.raises(CheckpointError, match="No such file"):
        Tokenizer.load(tmp_path / "y.spm")
