"""What is checked of a bootstrap's stages before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nmt.config.paths import is_there, model_root, real_path, taken_tokenizer
from nmt.config.recipe import Recipe
from nmt.corpus.tokenizer import MASK, language_tag
from nmt.corpus.words import lower
from nmt.errors import ConfigError
from nmt.experiments.bootstrap import Training, Translation
from nmt.training.fine_tuning import misfit
from nmt_data.bootstrap.site import Site, font_sha256
from nmt_data.mono import mono_sources
from nmt_data.parts import parts_of
from nmt_data.reading import Unreadable


def check(site: Site, say: Callable[[str], None]) -> None:
    """Checks recipes, corpora, texts and languages of all stages, before any work; warnings are said.

    Raises:
        NmtError: names the stage and what is wrong with it.
    """
    for stage in site.plan.stages:
        if isinstance(stage, Training):
            _check_training(site, stage, say)
        else:
            _check_translation(site, stage)


def _check_training(site: Site, stage: Training, say: Callable[[str], None]) -> None:
    recipe = site.recipe(stage)
    font_sha256(recipe)
    parts = parts_of(site.recipe(stage.model_copy(update={"add": ()})))
    mono_sources(recipe.data, parts[0].card)
    for split in (split for part in parts for split in part.splits()):
        if split.files or not (split.card.hub or split.card.generator):  # these have their turn when they are prepared
            next(split.read(Unreadable(recipe.data.on_bad_text == "skip")), None)
    if stage.initialise:
        _check_start(site, stage, site.plan.training(stage.initialise))
    _check_added(site, stage, recipe, say)


def _check_added(site: Site, stage: Training, recipe: Recipe, say: Callable[[str], None]) -> None:
    here = recipe.data.source, recipe.data.target
    for name in stage.add:
        added = site.plan.translation(name)
        there = site.languages(added)
        where = f"stage {stage.name}: add: {name}"
        if set(there) != set(here):
            raise ConfigError(f"{where} is {'-'.join(there)} text, and the training is {'-'.join(here)}")
        if added.tag and there[1] == here[1]:
            raise ConfigError(
                f"{where} has its tag {added.tag} in {there[1]}, which is the target here; a tag is for sources, "
                "so leave it out of text that is translated forward"
            )
        if added.tag:
            _check_tag(recipe, stage, added.tag)
        pairs = site.texts[added.translate].lines * len(added.voters)
        if recipe.data.limit and recipe.data.limit < pairs:
            say(f"warning: {where}: data.limit = {recipe.data.limit} leaves out the rest of its {pairs} pairs")


def _check_tag(recipe: Recipe, stage: Training, tag: str) -> None:
    """Refuses lower case, or a tokenizer of another model, that would take a tag to pieces."""
    if recipe.data.lowercase and (small := lower(tag, recipe.data.source)) != tag:
        raise ConfigError(f"stage {stage.name}: data.lowercase would change the tag {tag}; write it as {small}")
    taken = taken_tokenizer(recipe.model_dump())
    there = taken is not None and is_there(model_root(Path(taken)) / "recipe.toml")
    if there and "byte" not in recipe.tokenizer.kinds and tag not in recipe.tokenizer.user_symbols:
        raise ConfigError(
            f"stage {stage.name}: the tokenizer of {taken} has no symbol {tag}; "
            'train another with set = ["tokenizer.model=new"]'
        )


def _check_start(site: Site, stage: Training, start: Training) -> None:
    """Refuses to start from a model of another kind, or with a vocabulary that lacks a symbol of this training."""
    recipe, where = site.recipe(stage), f"stage {stage.name}: initialise"
    if found := misfit(recipe.model, site.recipe(start).model):
        raise ConfigError(f"{where}: {start.name} has {found}; both need one model section")
    first = _tokenizing(site, stage)
    if first is not stage and "byte" not in recipe.tokenizer.kinds:
        there, data = site.recipe(first).data, recipe.data
        if missing := next((language for language in data.tags if language not in there.tags), None):
            raise ConfigError(
                f"{where}: the vocabulary of {first.name} has no {language_tag(missing)}; set data.tag_target there too"
            )
        if data.mono and not there.mono:
            raise ConfigError(f"{where}: the vocabulary of {first.name} has no {MASK}; give it data.mono too")


def _tokenizing(site: Site, stage: Training) -> Training:
    """Returns the training that makes the tokenizer of a stage: itself, or the one that it starts from, or that one's."""
    if not stage.initialise:
        return stage
    taken, model = taken_tokenizer(site.recipe(stage).model_dump()), real_path(site.model(stage.initialise))
    return _tokenizing(site, site.plan.training(stage.initialise)) if taken == str(model) else stage


def _check_translation(site: Site, stage: Translation) -> None:
    directions = {name: "-".join(site.languages(site.plan.training(name))) for name in stage.by}
    if len(set(directions.values())) > 1:
        found = ", ".join(f"{name} is {direction}" for name, direction in directions.items())
        raise ConfigError(f"stage {stage.name}: by: the models differ in direction: {found}")
    if stage.ensemble:
        first, *others = (_tokenizing(site, site.plan.training(name)) for name in stage.by)
        if other := next((item for item in others if _vocabulary(site, item) != _vocabulary(site, first)), None):
            raise ConfigError(
                f"stage {stage.name}: ensemble: needs models of one vocabulary, and the tokenizers of {first.name} and "
                f"{other.name} learn from other text or by other settings"
            )


def _vocabulary(site: Site, stage: Training) -> Any:
    """Returns what decides on the vocabulary of a training."""
    recipe = site.recipe(stage)
    if (taken := taken_tokenizer(recipe.model_dump())) is not None:
        return taken
    tokenizer = recipe.tokenizer.model_dump(exclude={"model"})
    if {*recipe.tokenizer.kinds} == {"byte"}:
        return recipe.tokenizer.joint
    text = recipe.data.model_dump(include={"corpus", "source", "target", "limit", "lowercase", "tag_target"})
    more = [(part.corpus, part.source, part.target) for part in recipe.data.more]
    return tokenizer, text, more, [(item.language, item.files) for item in recipe.data.mono]
