"""The work of a bootstrap's stages: one after the other, each going on where it was stopped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from nmt.config.recipe import Recipe
from nmt.config.toml import toml_line
from nmt.corpus.lines import file_lines
from nmt.errors import DataError
from nmt.experiments.bootstrap import Stage, Training, Translation
from nmt.runtime.atomic import atomic_folder, write_json
from nmt.runtime.device import release_memory
from nmt.runtime.files import explain_full_disk, file_sha256
from nmt.storage.integrity import MANIFEST
from nmt.storage.manifest import write_folder_manifest
from nmt_data.bootstrap.origin import origin_of, searches_of
from nmt_data.bootstrap.progress import RECORD, draft_of, record_of, state_of
from nmt_data.bootstrap.site import CARD, Site, Text
from nmt_data.bootstrap.survey import survey, write_tree
from nmt_data.cards import load_card


@dataclass(frozen=True)
class Job:
    """A text to translate by one model, or by several that vote."""

    models: Sequence[Path]
    text: Path
    lines: int
    output: Path
    search: Mapping[str, Any]
    """Keys of `[search]`."""
    sampling: Mapping[str, Any] | None
    """Settings by which translations are drawn; None: search for the best."""


class Crew(Protocol):
    """Who does the work of a stage."""

    def train(self, recipe: Recipe, run: Path) -> None:
        """Trains to the end, from where it was stopped."""

    def translate(self, job: Job) -> None:
        """Writes a translation of each line, from where it was stopped."""


def make(site: Site, stages: Sequence[Stage], crew: Crew, say: Callable[[str], None]) -> None:
    """Makes what is not there yet, stage by stage."""
    for stage in stages:
        if state_of(site, stage) != "done":
            say(f"nmt: stage {stage.name}")
            _perform(site, stage, crew, say)
            write_tree(site, survey(site))
            release_memory()
        elif isinstance(stage, Translation):
            shutil.rmtree(draft_of(site, stage), ignore_errors=True)


def _perform(site: Site, stage: Stage, crew: Crew, say: Callable[[str], None]) -> None:
    """Makes the product of a stage, or goes on making it; what other inputs made is set aside first."""
    origin, state = origin_of(site, stage), state_of(site, stage)
    if state == "again":
        place = site.place(stage)
        say(f"{place.name}: its inputs have changed; the old one lies in {_set_aside(place)}")
    if isinstance(stage, Training):
        _train(site, stage, origin, crew)
    else:
        _translate(site, stage, origin, crew)


def _set_aside(place: Path) -> Path:
    """Moves what other inputs made out of the way, and returns where to; what was there before is removed."""
    aside = place.parent / ".before" / place.name
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(exist_ok=True)
    place.rename(aside)
    return aside


@contextmanager
def _timed(folder: Path, origin: str) -> Generator[dict[str, Any]]:
    """Yields the record of a stage at work, and adds the seconds of the block to it."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"seconds": 0.0, **record_of(folder), "origin": origin}
    write_json(folder / RECORD, record)
    start, before = perf_counter(), float(record["seconds"])
    try:
        yield record
    finally:
        record["seconds"] = round(before + perf_counter() - start, 1)
        if folder.is_dir():
            write_json(folder / RECORD, record)


def _train(site: Site, stage: Training, origin: str, crew: Crew) -> None:
    run, recipe = site.place(stage), site.recipe(stage)
    with _timed(run, origin) as record:
        crew.train(recipe, run)
        record |= {"model": file_sha256(run / "model" / MANIFEST), "updates": recipe.training.updates}


def _translate(site: Site, stage: Translation, origin: str, crew: Crew) -> None:
    """Translates a copy of the text, which stays the same if the text is changed meanwhile, then makes the corpus whole."""
    draft, place, text = draft_of(site, stage), site.place(stage), site.texts[stage.translate]
    if record_of(draft).get("origin") != origin:
        shutil.rmtree(draft, ignore_errors=True)
    with _timed(draft, origin) as record:
        copied = draft / "text"
        if not copied.exists():
            _copy(text, copied)
        outputs = [draft / f"translation-{number}" for number in range(1, len(stage.voters) + 1)]
        for number, output in enumerate(outputs):
            if not output.exists():
                crew.translate(_job(site, stage, number, copied, output))
    with atomic_folder(place) as folder:
        source, target = site.languages(stage)
        with (folder / f"train.{source}").open("wb") as side, (folder / f"train.{target}").open("wb") as other:
            for output in outputs:
                with copied.open("rb") as lines:
                    shutil.copyfileobj(lines, side)
                other.writelines(_tagged(output, stage.tag, site.plan.tags))
        (folder / CARD).write_text(_card(site, stage), encoding="utf-8")
        write_json(folder / RECORD, {**record, "lines": text.lines * len(outputs), "how": stage.how})
        write_folder_manifest(folder, origin)
    shutil.rmtree(draft)


def _copy(text: Text, place: Path) -> None:
    part = place.with_suffix(".part")
    with explain_full_disk(place), part.open("wb") as stream:
        stream.writelines(line + b"\n" for line in file_lines(text.path))
    if file_sha256(part) != text.sha256:
        raise DataError(f"{text.path}: has changed since this command began; start it again")
    part.replace(place)


def _job(site: Site, stage: Translation, number: int, text: Path, output: Path) -> Job:
    """Returns the translation of the text by the voters of that number."""
    top = {"top_k": stage.top_k} if stage.how == "top-k" else {}
    return Job(
        models=[site.model(name) for name in stage.voters[number]],
        text=text,
        lines=site.texts[stage.translate].lines,
        output=output,
        search=searches_of(site, stage)[number],
        sampling={**top, "seed": stage.seed + number} if stage.draws else None,
    )


def _tagged(output: Path, tag: str | None, tags: Sequence[str]) -> Iterator[bytes]:
    """Yields translations behind their tag; blank lines stay blank, and tags that a model has said are left out."""
    said = re.compile("|".join(f" ?{re.escape(item)}" for item in tags).encode())
    with output.open("rb") as lines:
        for line in lines:
            text = said.sub(b"", line).lstrip(b" ") if tags else line
            yield f"{tag} ".encode() + text if tag and text.strip() else text


def _card(site: Site, stage: Translation) -> str:
    """Returns the card of the corpus; words are split as in the corpus of the first model."""
    base = load_card(site.recipe(site.plan.training(stage.by[0])).data.corpus)
    values: dict[str, Any] = {
        "name": stage.name,
        "title": f"{stage.translate}, translated by {', '.join(stage.by)} ({stage.how})",
        "licence": "that of the text, and of what the models learnt from",
        "languages": site.languages(stage),
        **({"tokenize": base.tokenize} if base.tokenize else {}),
    }
    head = [toml_line(key, value) for key, value in values.items()]
    return "\n".join([*head, "", "[splits]", 'train = "train.{language}"', ""])
