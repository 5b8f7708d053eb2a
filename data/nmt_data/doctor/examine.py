"""The examination: all findings in the order in which a training would meet them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import torch

from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import NmtError
from nmt.runtime.device import choose_device, set_threads
from nmt.runtime.files import explain_os_error
from nmt.storage.run_folder import RunFolder
from nmt.training.fine_tuning import check_start
from nmt.training.needs import training_needs
from nmt_data.doctor.checks import first_checks
from nmt_data.doctor.corpus import examine_corpus
from nmt_data.doctor.finding import Finding, fails, problem, refused, tried
from nmt_data.doctor.languages import examine_languages
from nmt_data.doctor.machine import examine_machine
from nmt_data.doctor.room import checkpoints, corpus_room, memory
from nmt_data.doctor.sizes import examine_sizes
from nmt_data.doctor.speed import speed
from nmt_data.doctor.text import examine_text
from nmt_data.prepare import prepare
from nmt_data.texts import Say


def examine(
    recipe: Recipe | None, run: Path | None = None, device: str = "auto", probe: bool = True, say: Say = lambda _: None
) -> Iterator[Finding]:
    """Yields findings on the machine, then on a recipe and its corpus, which is prepared if it is not yet.

    An error that training would raise becomes a problem, and what needs the part that failed is left out.

    Args:
        recipe: the recipe to train; None: only the machine is looked at.
        run: its run folder; `runs/NAME` if left out.
        device: where to train: `auto`, `cpu`, `cuda` or `cuda:n`.
        probe: whether to make some updates, for their speed.
        say: receives a line about each step of preparing.
    """
    set_threads()
    yield from examine_machine()
    if recipe is None:
        return
    try:
        place = choose_device(device)
    except NmtError as error:
        yield refused("device", error)
        return
    folder = run or Path("runs") / recipe.name
    found: list[Finding] = []
    prepared = None
    checked = (finding for topic, check in first_checks(recipe, folder, place) for finding in tried(topic, check))
    for item in chain(checked, _prepared(recipe, say)):
        if isinstance(item, Prepared):
            prepared = item
        elif item.text not in {finding.text for finding in found}:  # what lacks a card fails more than once
            found.append(item)
            yield item
    if prepared is not None:
        yield from _examine_corpus(recipe, prepared)
        yield from _examine_training(recipe, prepared, folder, place, probe, found)


def _prepared(recipe: Recipe, say: Say) -> Iterator[Finding | Prepared]:
    """Yields the room for the prepared corpus, and the corpus itself or the problem that prevents it."""
    try:
        room = corpus_room(recipe)
        if room is not None:
            yield room
        if room is None or room.level != "problem":
            yield prepare(recipe, say, thorough=True)
    except NmtError as error:
        yield refused("corpus", error)
    except OSError as error:
        yield problem("corpus", explain_os_error(error))


def _examine_corpus(recipe: Recipe, prepared: Prepared) -> Iterator[Finding]:
    """Yields the findings on the text and its tokens."""
    yield from examine_corpus(recipe, prepared)
    yield from examine_text(prepared, recipe.tokenizer.normalization)
    yield from examine_languages(prepared)


def _examine_training(
    recipe: Recipe, prepared: Prepared, run: Path, device: torch.device, probe: bool, found: Sequence[Finding]
) -> Iterator[Finding]:
    """Yields the findings on the training, after those that were found before the corpus was prepared."""
    here, start = RunFolder(run), recipe.training.initialise
    other = list(tried("run", partial(here.check_recipe, recipe)))
    other += tried("run", partial(here.check_corpus, prepared.fingerprint, prepared.tokenizers.fingerprints))
    if start is not None and not here.can_resume():
        other += tried("model", partial(check_start, recipe.model, Path(start)))
    yield from other
    try:
        needs = training_needs(recipe, prepared, device)
    except NmtError as error:
        yield refused("model", error)
        return
    yield from examine_sizes(recipe, prepared, needs.parameters)
    failed = {finding.topic for finding in found if finding.level == "problem"}
    room = [] if "memory" in failed else [memory(recipe, needs, device)]
    room += [] if "run" in failed else [checkpoints(recipe, needs, run)]
    yield from room
    if probe and not fails([*found, *other, *room]):
        yield speed(recipe, prepared, device)
