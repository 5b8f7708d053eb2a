"""Finds the test sets that users name: of the model's corpus, a pair of files, or from sacreBLEU's cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.corpus.words import MANY_REWRITTEN, lower, rewritten
from nmt.errors import ConfigError, DataError
from nmt_cli.console import note

if TYPE_CHECKING:
    from nmt.config.recipe import Recipe
    from nmt.corpus.testset import TestSet


def choose_testsets(
    recipe: Recipe | None,
    names: Sequence[str],
    tokenize: str | None = None,
    language: str | None = None,
) -> list[TestSet]:
    """Returns test sets by name or as SOURCE:REFERENCE files; without names all of the recipe's corpus except `valid`.

    All are scored alike: with the corpus's tokenisation, and lower-cased if the recipe lower-cases text.

    Args:
        recipe: its corpus is searched first, then sacreBLEU's cache; None: only files can be named.
        names: names as the user gave them.
        tokenize: tokenisation for all of them; None: that of the corpus, else by the target language.
        language: target language; None: the recipe's first.

    Raises:
        ConfigError: a test set is given twice, is named without a recipe, or is missing, or the tokenisation is unknown.
        DataError: there is no such test set, or its files are wrong.
    """
    from nmt.corpus.testset import TestSet
    from nmt.scoring.tokenization import check_tokenization, parse_tokenization

    scheme = parse_tokenization(tokenize) if tokenize else None
    files = {name: [Path(part) for part in name.split(":", 1)] for name in names if ":" in name}
    titles = names_apart([source.with_suffix("") for source, _ in files.values()], "-")
    found = {name: TestSet.read(title, *sides) for title, (name, sides) in zip(titles, files.items(), strict=True)}
    found = {name: _scored(item, recipe, language, files[name][1]) for name, item in found.items()}
    others = [name for name in names if ":" not in name]
    if others or not names:
        if recipe is None:
            raise ConfigError(
                "name a test set as SOURCE:REFERENCE: without a model there is no corpus to take one from"
            )
        found |= _named(recipe, others, language)
    if not found:
        raise ConfigError("this corpus has no test set: name valid, or SOURCE:REFERENCE files, with --testset")
    chosen = [replace(found[name], tokenize=scheme or found[name].tokenize) for name in names or found]
    titles = [item.name for item in chosen]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise ConfigError(f"two test sets are called {twice}: give each once, under a name of its own")
    for item in chosen:
        check_tokenization(item.tokenize)
        if scheme is None:
            say_tokenization(item)
    return chosen


def say_tokenization(testset: TestSet) -> None:
    """Notes an unusual tokenisation, and warns where the usual one would take sentences for words."""
    from nmt.scoring.tokenization import unsegmented

    if testset.tokenize not in ("13a", "none"):
        alone = "; TER does not, and takes sentences for words" if unsegmented(testset.target[:_LOOKED_AT]) else ""
        note(f"{testset.name}: BLEU splits words by {testset.tokenize}{alone}")
    elif unsegmented(testset.target[:_LOOKED_AT]):
        note(
            f"warning: {testset.name}: its references have no spaces, and BLEU by {testset.tokenize} takes sentences for "
            "words; choose char or flores200 (--tokenize, or tokenize in the card of the corpus)"
        )


def say_normalisation(testset: TestSet, recipe: Recipe) -> None:
    """Warns if many references contain characters that the tokenizer rewrites, such as a full-width comma."""
    share, letters = rewritten(testset.target[:_LOOKED_AT])
    if recipe.tokenizer.normalization == "nfkc" and share > MANY_REWRITTEN:
        note(
            f"warning: {share:.0%} of the references of {testset.name} hold letters that the tokenizer "
            f'rewrites ({" ".join(letters[:_SHOWN])}), which costs BLEU; tokenizer.normalization = "identity" keeps them'
        )


_SHOWN = 5
_LOOKED_AT = 200  # lines


def names_apart(paths: Sequence[Path], joint: str) -> list[str]:
    """Names each path by its last part, with enough parent folders to tell all apart."""
    whole = [path.absolute().parts for path in paths]
    deepest = max(map(len, whole), default=1)
    count = next(
        (count for count in range(1, deepest) if len({parts[-count:] for parts in whole}) == len(set(whole))), 1
    )
    return [joint.join(parts[-count:]) for parts in whole]


def _named(recipe: Recipe, names: Sequence[str], language: str | None) -> dict[str, TestSet]:
    """Finds test sets in the recipe's corpus or sacreBLEU's cache; no names: all of the corpus but `valid`.

    Raises:
        ConfigError: a test set of the corpus is into another language.
        DataError: there is no such test set.
    """
    from nmt.corpus.testset import TestSet
    from nmt.scoring.tokenization import default_tokenization
    from nmt_data.prepare import prepare
    from nmt_data.sacrebleu_cache import cached_testset

    prepared = prepare(recipe, say=note)
    own, target = prepared.testsets(), language or recipe.data.target
    found: dict[str, TestSet] = {}
    for name in names or [name for name in own if name != "valid"]:
        files = None if name in own else cached_testset(name, recipe.data.source, target)
        if files:
            read = TestSet.read(name.replace("/", "-"), *files)
            found[name] = _lowered(replace(read, tokenize=default_tokenization(target)), recipe, target)
        else:
            testset = prepared.testset(name)
            others = sorted(set(testset.languages) - {language}) if language else []
            if others and names:
                raise ConfigError(f"{name} is into {', '.join(others)}, not into {language}; leave --to out")
            if not others:
                found[name] = testset
    return found


def _scored(testset: TestSet, recipe: Recipe | None, language: str | None, reference: Path) -> TestSet:
    """Chooses the tokenisation of files: as in the recipe's corpus, or by the suffix of the reference without a recipe."""
    from nmt.scoring.tokenization import default_tokenization
    from nmt_data.cards import load_card

    if recipe is None:
        return replace(testset, tokenize=default_tokenization(reference.suffix.removeprefix(".")))
    target = language or recipe.data.target
    corpus = next((part.corpus for part in recipe.data.more if part.target == target), recipe.data.corpus)
    if target == recipe.data.target:
        corpus = recipe.data.corpus
    try:
        scheme = load_card(corpus).tokenization(target)
    except DataError as error:  # a model without its corpus
        scheme = default_tokenization(target)
        note(f"{error}; words are split by {scheme}, as {target} is")
    return _lowered(replace(testset, tokenize=scheme), recipe, target)


def _lowered(testset: TestSet, recipe: Recipe, target: str) -> TestSet:
    """Lower-cases both sides if `data.lowercase` says so, like the recipe's own test sets."""
    if not recipe.data.lowercase:
        return testset
    source, references = in_case(testset.source, recipe, recipe.data.source), in_case(testset.target, recipe, target)
    return replace(testset, source=source, target=references, lowercase=True)


def in_case(lines: list[str], recipe: Recipe | None, language: str | None = None) -> list[str]:
    """Lower-cases lines as their language does if `data.lowercase` says so; None: the target language of the recipe."""
    if recipe is None or not recipe.data.lowercase:
        return lines
    return [lower(line, language or recipe.data.target) for line in lines]
