"""How far the stages of a bootstrap have come. What a stage was made from is kept beside its product."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from nmt.errors import CheckpointError, ConfigError
from nmt.experiments.bootstrap import Stage, Training, Translation
from nmt.runtime.files import file_sha256
from nmt.runtime.untrusted import read_object
from nmt.storage.integrity import MANIFEST, damage
from nmt.storage.manifest import folder_damage
from nmt.storage.run_folder import RunFolder
from nmt_data.bootstrap.origin import origin_of
from nmt_data.bootstrap.site import Site

RECORD = "stage.json"
State = Literal["done", "begun", "again", "to do"]


def state_of(site: Site, stage: Stage, ready: bool = True) -> State:
    """Returns how far a stage has come; `ready` says whether all that it needs is done.

    Raises:
        ConfigError: its folder holds something else.
    """
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


def draft_of(site: Site, stage: Translation) -> Path:
    """Returns the folder of an unfinished translation."""
    return site.runs / f".{stage.name}.part"


def _is_trained(site: Site, stage: Training, origin: str) -> bool:
    run, updates = site.place(stage), site.recipe(stage).training.updates
    record, manifest = record_of(run), run / "model" / MANIFEST
    if (record.get("origin"), record.get("updates")) != (origin, updates) or not manifest.is_file():
        return False
    return record.get("model") == file_sha256(manifest) and not damage(run / "model")


def _is_beyond(site: Site, stage: Training) -> bool:
    """Whether a training has made more updates than its recipe asks for by now."""
    steps = (int(entry["step"]) for entry in RunFolder(site.place(stage)).entries())
    return max(steps, default=0) > site.recipe(stage).training.updates


def record_of(folder: Path, name: str = RECORD) -> dict[str, Any]:
    """Returns the record of a stage, or of a file at work; empty if there is none."""
    try:
        return read_object(folder / name)
    except CheckpointError:
        return {}
