"""Makes the folder that training reads from corpus cards: read, clean, split, audit, train tokenizers, encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from nmt.config.paths import taken_tokenizer
from nmt.config.recipe import Recipe
from nmt.corpus.lazy_lines import mapped_lines
from nmt.corpus.normalising import line_normaliser
from nmt.corpus.prepared import Prepared
from nmt.corpus.rendering import is_shaped, renderer_of
from nmt.corpus.tokenizer import Tokenizers
from nmt.errors import DataError
from nmt.runtime.atomic import atomic_folder, clear_litter, write_json
from nmt.runtime.files import NAME_A_HOME, check_output, file_sha256, fingerprint
from nmt.storage.manifest import folder_damage, write_folder_manifest
from nmt.training.batches import select
from nmt_data.cleaning.checks import check_cleaning
from nmt_data.encoding import Encoding, Written, write_train, write_valid
from nmt_data.means import Means
from nmt_data.parts import Part, fingerprint_of, parts_of
from nmt_data.texts import Say, TextReader, Texts
from nmt_data.unfinished import Unfinished, corpora_folder, unfinished
from nmt_data.vocabulary import train_tokenizers


def prepare(recipe: Recipe, say: Say = lambda _: None, thorough: bool = False, means: Means | None = None) -> Prepared:
    """Returns the prepared corpus of a recipe, made unless it already exists, undamaged, under NMT_HOME.

    Args:
        recipe: its corpora and tokenizer are used.
        say: receives a line about each step.
        thorough: check every byte of large files too, as before a training.
        means: processes and memory to use; the result does not depend on them. Default: `Means.of()`.

    Raises:
        DataError: the corpus is missing or unusable.
        ConfigError: a card, a filter or the tokenizer of the recipe is wrong.
    """
    parts, taken = parts_of(recipe), Tokenizers.taken(recipe)
    key = fingerprint_of(recipe, parts, taken)
    folder = corpora_folder() / key
    reason = folder_damage(folder, thorough)
    if not reason:
        return _checked(Prepared(folder), recipe, say)
    if folder.exists():
        say(f"{folder} is damaged ({reason}); it is made again")
    check_cleaning(recipe.data, parts, say)
    check_output(folder, folder=True, hint=NAME_A_HOME)
    clear_litter(folder.parent)

    def check() -> None:
        if fingerprint_of(recipe, parts_of(recipe), taken) != key:
            raise DataError(f"corpus {parts[0].card.name} was changed while it was read; start again")

    with unfinished(folder, say) as work:
        _Preparation(recipe, parts, taken, say, means or Means.of(say=say)).write(folder, work, check, thorough)
    return _checked(Prepared(folder), recipe, say)


@dataclass(frozen=True)
class _Preparation:
    """Makes a prepared corpus."""

    recipe: Recipe
    parts: Sequence[Part]
    taken: Tokenizers | None
    say: Say
    means: Means

    def write(self, folder: Path, work: Unfinished, check: Callable[[], None], thorough: bool) -> None:
        """Reads, tokenises and encodes; what killed processes have done is not done again."""
        start = perf_counter()
        self.say("reading " + ", ".join(f"{part.card.name} {part.direction}" for part in self.parts))
        texts = TextReader(self.recipe, self.parts, self.means, self.say).read(work, check)
        tokenizers = self._tokenizers(texts, work)
        self.say("encoding")
        with atomic_folder(folder, keep=lambda there: not folder_damage(there, thorough)) as draft:
            tokenizers.save(draft)
            encoding = Encoding(tokenizers, self.recipe.tokenizer.kinds, self.recipe.data.tag_target)
            written = write_train(draft, texts, encoding, self.means)
            (draft / "testsets").mkdir()
            for testset in texts.testsets():
                testset.write(draft / "testsets")
                if testset.name == "valid":
                    data = self.recipe.data
                    write_valid(draft, testset, encoding, written, line_normaliser(data.normalise, data.source))
            names = ("train.source", "train.target", "testsets/valid.source", "testsets/valid.target")
            report = {
                **texts.report,
                "fingerprint": _identity([draft / name for name in names], texts, tokenizers, written),
                "tokens": {
                    side: count.report(size)
                    for side, count, size in zip(("source", "target"), written.sides, tokenizers.sizes, strict=True)
                },
                "seconds": round(perf_counter() - start, 1),
            }
            write_json(draft / "report.json", report)
            write_folder_manifest(draft)

    def _tokenizers(self, texts: Texts, work: Unfinished) -> Tokenizers:
        """Takes the tokenizers of another model, or trains new ones."""
        if self.taken:
            self.say(f"taking the tokenizer of {taken_tokenizer(self.recipe.model_dump())}: {self.taken.description}")
            return self.taken
        lines = f" and {texts.lines} lines of text" if self.recipe.data.mono else ""
        self.say(f"training the tokenizer on {texts.pairs} pairs{lines}")

        def train(draft: Path) -> dict[str, Any]:
            train_tokenizers(self.recipe, texts).save(draft)
            return {}

        return Tokenizers.load(work.stage("tokenizer trained", train)[0])


def _checked(prepared: Prepared, recipe: Recipe, say: Say) -> Prepared:
    """Checks that validation has pairs within the length limit, and that the font of a visual model has all letters.

    Raises:
        DataError: a check fails.
    """
    _check_font(prepared, recipe)
    limit, total = recipe.training.max_length, len(prepared.valid)
    chosen = select(prepared.valid, limit)
    if not len(chosen.rows):
        raise DataError(
            f"none of the {total} validation pairs has between 1 and training.max_length = {limit} tokens a side"
        )
    if chosen.too_long:
        say(
            f"{chosen.too_long} of {total} validation pairs are above training.max_length = {limit}: no part of its loss"
        )
    return prepared


def _check_font(prepared: Prepared, recipe: Recipe) -> None:
    """Refuses training text with characters that would be drawn as empty boxes."""
    model = recipe.model
    if model.kind != "visual":
        return
    renderer, lines = renderer_of(model.font, model.height, model.grid), mapped_lines(prepared.folder / "train.source")
    letters = set[str]()
    for line in lines:
        letters.update(line)
    missing = renderer.missing("".join(letters))
    if missing:
        rows = sum(not missing.isdisjoint(line) for line in lines)
        first = min(missing, key=lambda letter: next(row for row, line in enumerate(lines) if letter in line))
        more = f" and {len(missing) - 1} other characters" * (len(missing) > 1)
        named, remedy = f"{first!r} (U+{ord(first):04X}){more}", "set model.font to a font that has them"
        if is_shaped(first):
            remedy += ", and install libfribidi: Pillow needs it to join and stack letters (Debian's libfribidi0)"
        raise DataError(f"{renderer.name} cannot show {named}, which {rows} training lines hold; {remedy}")


def _identity(files: Sequence[Path], texts: Texts, tokenizers: Tokenizers, written: Written) -> str:
    """Returns a fingerprint of the training and validation content; test sets, titles and licences do not count."""
    return fingerprint(
        {
            "text": [file_sha256(path) for path in files],
            "ids": written.digest.hexdigest(),
            "vocabulary": tokenizers.fingerprints,
            "parts": [part["pairs"] for part in texts.report["parts"]],
            **({"mono": [part["lines"] for part in mono["parts"]]} if (mono := texts.report.get("mono")) else {}),
            "tokenize": texts.report["tokenize"],
        }
    )
