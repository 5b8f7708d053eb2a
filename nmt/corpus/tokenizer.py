"""SentencePiece (Kudo and Richardson 2018): subwords, words or characters, with the same four special tokens."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sentencepiece

from nmt.config.data import TokenizerConfig
from nmt.config.paths import NEW, model_root, taken_tokenizer
from nmt.config.recipe import Recipe
from nmt.errors import CheckpointError, ConfigError, DataError
from nmt.runtime.atomic import atomic_write
from nmt.runtime.stages import stage
from nmt.runtime.untrusted import read_regular

PAD, UNK, BOS, EOS = 0, 1, 2, 3
LARGEST_MODEL = 256_000_000
"""Largest size of a `.spm` file in bytes; one with 32,000 pieces has a million."""
WORD_MARK = "\u2581"  # begins a word
_MODEL_TYPES = {"unigram": "unigram", "bpe": "bpe", "word": "word", "character": "char", "byte": "char"}
_SPACE, _FIRST_BYTE, _BYTES = 4, 5, 256  # of a vocabulary of bytes: what begins a word, then the bytes in order


MASK = "<mask>"
"""Stands for hidden words in the source of text without translations."""


def language_tag(language: str) -> str:
    """Returns the tag that tells a model the target language, at the start of the source (Johnson et al. 2017)."""
    return f"<2{language}>"


class Tokenizer:
    """A trained vocabulary that converts text to token ids and back."""

    def __init__(self, model: bytes, threads: int = -1) -> None:
        """Loads a model; many lines are encoded by that many threads, by default one for each core."""
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model, num_threads=threads)
        self.vocabulary_size = int(self._processor.get_piece_size())

    @classmethod
    def train(cls, lines: Iterable[str], config: TokenizerConfig) -> Tokenizer:
        """Trains on lines of text, on one thread, so that the result is the same on every machine.

        Raises:
            DataError: the text is too small or too diverse for the vocabulary size.
            Exception: whatever the reading of the lines raises.
        """
        model, spelled = io.BytesIO(), config.kind == "byte"  # bytes are characters that are all unknown
        read = _Read(["a"] if spelled else lines)
        try:
            with stage("training the tokenizer"):
                sentencepiece.SentencePieceTrainer.train(
                    sentence_iterator=read,
                    model_writer=model,
                    model_type=_MODEL_TYPES[config.kind],
                    vocab_size=_FIRST_BYTE + _BYTES if spelled else config.vocabulary,
                    hard_vocab_limit=config.kind in ("unigram", "bpe"),
                    use_all_vocab=False,
                    character_coverage=config.character_coverage,
                    byte_fallback=spelled or config.byte_fallback,
                    user_defined_symbols=[WORD_MARK] if spelled else list(config.user_symbols),
                    normalization_rule_name=config.normalization,
                    pad_id=PAD,
                    unk_id=UNK,
                    bos_id=BOS,
                    eos_id=EOS,
                    num_threads=1,
                    max_sentence_length=16_384,
                    minloglevel=2,
                )
        except (RuntimeError, ValueError) as error:
            if read.error is not None:
                raise read.error from None
            raise DataError(
                f"tokenizer.vocabulary = {config.vocabulary} does not fit this text: {_reason(error)}"
            ) from None
        return cls(model.getvalue())

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Reads a `.spm` file.

        Raises:
            CheckpointError: the file is missing or damaged, or has other special tokens.
        """
        try:
            tokenizer = cls(read_regular(path, LARGEST_MODEL))
            tokenizer.pieces()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from None
        except (RuntimeError, ValueError):  # a ValueError: pieces that are not UTF-8
            raise CheckpointError(f"{path}: not a SentencePiece model") from None
        processor = tokenizer._processor
        ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
        if ids != (PAD, UNK, BOS, EOS):
            raise CheckpointError(f"{path}: pad, unk, bos and eos must be 0, 1, 2 and 3, got {ids}")
        return tokenizer

    def save(self, path: Path) -> None:
        """Writes the `.spm` file."""
        atomic_write(path, self.model)

    @property
    def fingerprint(self) -> str:
        """Identity of the vocabulary: a hash of its pieces in order, not of the file."""
        return hashlib.sha256("\n".join(self.pieces()).encode()).hexdigest()[:16]

    def pieces(self) -> list[str]:
        """Returns all pieces by id."""
        return [self._processor.id_to_piece(index) for index in range(self.vocabulary_size)]

    @cached_property
    def spelled(self) -> list[str | int]:
        """The text of each token, by id: characters (a space where a word begins), or one byte of a character."""
        processor, found = self._processor, list[str | int]()
        for token, piece in enumerate(self.pieces()):
            if processor.is_byte(token):
                found.append(int(piece[1:-1], 16))
            elif processor.is_unknown(token):
                found.append(str(processor.decode([BOS, token])))
            else:
                found.append("" if processor.is_control(token) else piece.replace(WORD_MARK, " "))
        return found

    def normalized(self, text: str) -> str:
        """Normalises text as the tokenizer does."""
        return str(self._processor.normalize(text)).replace(WORD_MARK, " ").strip(" ")

    def id_to_pieces(self, ids: Sequence[int]) -> list[str]:
        """Returns the pieces of token ids."""
        return [self._processor.id_to_piece(token) for token in ids]

    def score(self, token: int) -> float:
        """Returns the score of a piece; BPE makes the merge of the highest score first."""
        return float(self._processor.get_score(token))

    def unmerged(self) -> set[int]:
        """Returns tokens that BPE does not merge: special ones, bytes and user-defined symbols."""
        spelled = self._processor.encode(
            [piece.replace(WORD_MARK, " ") for piece in self.pieces()],
            out_type=str,
            enable_sampling=True,
            alpha=1.0,  # no merge at all
            nbest_size=-1,
        )
        special = (self._processor.is_unknown, self._processor.is_control, self._processor.is_byte)
        return {
            token
            for token, piece in enumerate(self.pieces())
            if any(is_one(token) for is_one in special) or (len(piece) > 1 and piece in spelled[token])
        }

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each line, without special tokens; every unknown word is one token."""
        found: list[list[int]] = self._processor.encode(list(lines))
        for row, ids in enumerate(found):
            if UNK in ids:
                pieces = self._processor.encode(lines[row], out_type=str)
                found[row] = [token for token, piece in zip(ids, pieces, strict=True) for _ in self._words(piece)]
        return found

    def encode_pieces(self, lines: Sequence[str]) -> list[list[str]]:
        """Returns the pieces of each line as written, unknown ones included.

        SentencePiece joins consecutive unknown words to one piece; here each word is a piece.
        """
        found: list[list[str]] = self._processor.encode(list(lines), out_type=str)
        return [[part for piece in pieces for part in self._words(piece)] for pieces in found]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Returns the text of each sequence of token ids, without line breaks."""
        texts: list[str] = self._processor.decode([list(sequence) for sequence in ids])
        return [text.replace("\n", " ") for text in texts]

    def decode_pieces(self, pieces: Sequence[Sequence[str]]) -> list[str]:
        """Returns the text of each sequence of pieces, without line breaks."""
        texts: list[str] = [self._processor.decode(list(sequence)) for sequence in pieces]
        texts = [" ".join(text.split("\n")) for text in texts]
        return [text.replace(WORD_MARK, " ").removeprefix(" ") for text in texts]  # unknown words keep their mark

    def _words(self, piece: str) -> list[str]:
        """Splits a piece of several unknown words into these words."""
        if WORD_MARK in piece[1:] and self._processor.piece_to_id(piece) == UNK:
            return re.findall(f"{WORD_MARK}?[^{WORD_MARK}]+", piece) or [piece]
        return [piece]


class _Read(Iterator[str]):
    """Lines for SentencePiece, which turns whatever their reading raises into an error of its own; here it is kept."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.error: BaseException | None = None

    def __next__(self) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


def _reason(error: Exception) -> str:
    """Rewords an error of SentencePiece in terms of our keys."""
    if "sentences_.empty()" in str(error):
        return "there is none; every line is empty"
    said = str(error).rsplit("] ", 1)[-1].strip() or str(error)
    return re.sub("Increase vocab_size or .*", "Raise it, or lower tokenizer.character_coverage.", said)


def spelled_text(ids: Sequence[int]) -> str:
    """Returns the text that ids of a vocabulary of bytes spell, without special tokens; half characters are replaced."""
    spelled = bytes(32 if token == _SPACE else token - _FIRST_BYTE for token in ids if token >= _SPACE)
    return spelled.decode("utf-8", "replace").removeprefix(" ")


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of both sides; a joint vocabulary is the same object twice."""

    source: Tokenizer
    target: Tokenizer

    @classmethod
    def load(cls, folder: Path) -> Tokenizers:
        """Reads `joint.spm`, or `source.spm` and `target.spm`."""
        joint = folder / "joint.spm"
        if joint.exists():
            tokenizer = Tokenizer.load(joint)
            return cls(tokenizer, tokenizer)
        return cls(Tokenizer.load(folder / "source.spm"), Tokenizer.load(folder / "target.spm"))

    def save(self, folder: Path) -> None:
        """Writes the files that `load` reads."""
        if self.source is self.target:
            self.source.save(folder / "joint.spm")
            return
        self.source.save(folder / "source.spm")
        self.target.save(folder / "target.spm")

    @classmethod
    def taken(cls, recipe: Recipe) -> Tokenizers | None:
        """Loads the tokenizers of `tokenizer.model`; None if the recipe trains its own.

        Raises:
            CheckpointError: there is no such model.
            ConfigError: the tokenizers do not fit the recipe.
        """
        model = taken_tokenizer(recipe.model_dump())
        if model is None:
            return None
        if Path(model).is_file():
            raise ConfigError(
                f"{model}: is a file; name the folder of a run, a model or a checkpoint to take its tokenizer"
            )
        found = cls.load(model_root(Path(model)))
        way_out = f"; tokenizer.model = '{NEW}' trains another"
        if recipe.model.tie == "all" and found.source is not found.target:
            raise ConfigError(f"model.tie = 'all' needs one vocabulary, and {model} has two{way_out}")
        tags = [language_tag(language) for language in recipe.data.tags]
        if unknown := next((tag for tag in tags if tag not in found.source.pieces()), None):
            raise ConfigError(f"data.tag_target: the tokenizer of {model} has no {unknown}{way_out}")
        if recipe.data.mono and MASK not in found.source.pieces():
            raise ConfigError(f"data.mono: the tokenizer of {model} has no {MASK}{way_out}")
        return found

    @property
    def description(self) -> str:
        """The number of pieces of each side, as text."""
        sides = [self.source] if self.source is self.target else [self.source, self.target]
        return " and ".join(f"{side.vocabulary_size:,}" for side in sides) + " pieces"

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of tokens of each side."""
        return self.source.vocabulary_size, self.target.vocabulary_size

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of each side."""
        return {"source": self.source.fingerprint, "target": self.target.fingerprint}
