"""The work of a bootstrap's stages, and how far each has come. What a stage was made from is kept beside its product."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from nmt_cli.bootstrap_origin import origin_of, searches_of
from nmt_cli.bootstrap_site import CARD, Site, Text
from nmt_cli.console import note

if TYPE_CHECKING:
    from nmt.experiments.bootstrap import Stage, Training, Translation
    from nmt_cli.translation_request import SearchOptions

RECORD = "stage.json"
State = Literal["done", "begun", "again", "to do"]
_FEW = 1024  # lines for which a process of its own is worth its start


@dataclass(frozen=True)
class Crew:
    """Who works."""

    device: str
    workers: int | None
    """Processes that translate; None: one a core, or one on a GPU."""

    def for_lines(self, lines: int) -> int:
        """Returns how many processes translate so many lines."""
        from nmt.runtime.cpu import usable_cores
        from nmt.runtime.device import choose_device

        if self.workers is not None:
            return self.workers
        return 1 if choose_device(self.device).type == "cuda" else min(usable_cores(), 1 + lines // _FEW)


def state_of(site: Site, stage: Stage, ready: bool = True) -> State:
    """Returns how far a stage has come; `ready` says whether all that it needs is done.

    Raises:
        ConfigError: its folder holds something else.
    """
    from nmt.errors import ConfigError
    from nmt.experiments.bootstrap import Training
    from nmt.storage.manifest import folder_damage

    place = site.place(stage)
    drafts = place if isinstance(stage, Training) else draft_of(site, stage)
    if place.exists() and not (place / RECORD).exists() and (not place.is_dir() or any(place.iterdir())):
        raise ConfigError(
            f"{place} is there, but no stage of this plan made it; move it, or name another --runs folder"
        )
    made = (place / RECORD).exists()
    if not ready:
        return "again" if made else "to do"
    origin = origin_of(site, stage)
    done = _is_trained(site, stage, origin) if isinstance(stage, Training) else not folder_damage(place, True, origin)
    if done:
        return "done"
    if record_of(drafts).get("origin") == origin and not (isinstance(stage, Training) and _is_beyond(site, stage)):
        return "begun"
    return "again" if made else "to do"


def perform(site: Site, stage: Stage, crew: Crew) -> None:
    """Makes the product of a stage, or goes on making it; what other inputs made is set aside first."""
    from nmt.experiments.bootstrap import Training

    origin, state = origin_of(site, stage), state_of(site, stage)
    if state == "again":
        _set_aside(site.place(stage))
    if isinstance(stage, Training):
        _train(site, stage, origin, crew)
    else:
        _translate(site, stage, origin, crew)


def draft_of(site: Site, stage: Translation) -> Path:
    """Returns the folder of an unfinished translation."""
    return site.runs / f".{stage.name}.part"


def _is_trained(site: Site, stage: Training, origin: str) -> bool:
    from nmt.runtime.files import file_sha256
    from nmt.storage.integrity import MANIFEST, damage

    run, updates = site.place(stage), site.recipe(stage).training.updates
    record, manifest = record_of(run), run / "model" / MANIFEST
    if (record.get("origin"), record.get("updates")) != (origin, updates) or not manifest.is_file():
        return False
    return record.get("model") == file_sha256(manifest) and not damage(run / "model")


def _is_beyond(site: Site, stage: Training) -> bool:
    """Whether a training has made more updates than its recipe asks for by now."""
    from nmt.storage.run_folder import RunFolder

    steps = (int(entry["step"]) for entry in RunFolder(site.place(stage)).entries())
    return max(steps, default=0) > site.recipe(stage).training.updates


def record_of(folder: Path, name: str = RECORD) -> dict[str, Any]:
    """Returns the record of a stage, or of a file at work; empty if there is none."""
    from nmt.errors import CheckpointError
    from nmt.runtime.untrusted import read_object

    try:
        return read_object(folder / name)
    except CheckpointError:
        return {}


def _set_aside(place: Path) -> None:
    """Moves what other inputs made out of the way; what was there before is removed."""
    aside = place.parent / ".before" / place.name
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(exist_ok=True)
    place.rename(aside)
    note(f"{place.name}: its inputs have changed; the old one lies in {aside}")


@contextmanager
def _timed(folder: Path, origin: str) -> Generator[dict[str, Any]]:
    """Yields the record of a stage at work, and adds the seconds of the block to it."""
    from nmt.runtime.atomic import write_json

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
    from nmt.runtime.files import file_sha256
    from nmt.storage.integrity import MANIFEST
    from nmt_cli.train import train_run

    run, recipe = site.place(stage), site.recipe(stage)
    with _timed(run, origin) as record:
        train_run(recipe, run, crew.device)
        record |= {"model": file_sha256(run / "model" / MANIFEST), "updates": recipe.training.updates}


def _translate(site: Site, stage: Translation, origin: str, crew: Crew) -> None:
    """Translates a copy of the text, which stays the same if the text is changed meanwhile, then makes the corpus whole."""
    from nmt.runtime.atomic import atomic_folder, write_json
    from nmt.storage.manifest import write_folder_manifest

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
                _run(site, stage, number, copied, output, crew)
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
    from nmt.corpus.lines import file_lines
    from nmt.errors import DataError
    from nmt.runtime.files import explain_full_disk, file_sha256

    part = place.with_suffix(".part")
    with explain_full_disk(place), part.open("wb") as stream:
        stream.writelines(line + b"\n" for line in file_lines(text.path))
    if file_sha256(part) != text.sha256:
        raise DataError(f"{text.path}: has changed since this command began; start it again")
    part.replace(place)


def _run(site: Site, stage: Translation, number: int, text: Path, output: Path, crew: Crew) -> None:
    """Translates the text by one model or an ensemble, the voters of that number; an interrupted translation goes on."""
    from nmt_cli.requests import options
    from nmt_cli.translate import translate
    from nmt_cli.translation_request import SamplingOptions, TranslationRequest

    first, *others = map(site.model, stage.voters[number])
    top = stage.top_k if stage.how == "top-k" else None
    request = TranslationRequest(
        model=first,
        file=text,
        output=output,
        ensemble=others or None,
        search=_settings(searches_of(site, stage)[number], stage.draws),
        sample=stage.draws,
        sampling=SamplingOptions(top_k=top, seed=stage.seed + number) if stage.draws else SamplingOptions(),
        workers=crew.for_lines(site.texts[stage.translate].lines),
        device=crew.device,
    )
    translate(**options(request))


def _settings(search: Mapping[str, Any], draws: bool) -> SearchOptions:
    """Returns the settings that mean something: `nmt translate` refuses the others."""
    from nmt_cli.translation_request import SearchOptions

    idle = ("groups", "diversity", "stopping") if draws else ("diversity",) if search["groups"] == 1 else ()
    return SearchOptions(**{name: value for name, value in search.items() if name not in idle})


def _tagged(output: Path, tag: str | None, tags: Sequence[str]) -> Iterator[bytes]:
    """Yields translations behind their tag; blank lines stay blank, and tags that a model has said are left out."""
    said = re.compile("|".join(f" ?{re.escape(item)}" for item in tags).encode())
    with output.open("rb") as lines:
        for line in lines:
            text = said.sub(b"", line).lstrip(b" ") if tags else line
            yield f"{tag} ".encode() + text if tag and text.strip() else text


def _card(site: Site, stage: Translation) -> str:
    """Returns the card of the corpus; words are split as in the corpus of the first model."""
    from nmt.config.toml import toml_line
    from nmt_data.cards import load_card

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
