"""The tree of a bootstrap's stages: what each does, how far it has come, how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.config.recipe import Recipe
from nmt.experiments.bootstrap import Stage, Training, Translation
from nmt.report.stages import TREE, StageRow, Tree
from nmt.runtime.atomic import write_json
from nmt.runtime.files import drafts, fingerprint
from nmt.storage.bundle import read_card
from nmt.storage.run_folder import RunFolder
from nmt.storage.run_log import CARD
from nmt_data.bootstrap.progress import State, draft_of, record_of, state_of
from nmt_data.bootstrap.site import Site


@dataclass(frozen=True)
class Status:
    """How far a stage has come."""

    stage: Stage
    does: str
    state: State
    done: int
    total: int
    unit: str
    """What is counted: updates or lines."""
    seconds: float
    """Seconds of work so far."""
    rate: float | None
    """Seconds for an update or a line, by the logs of this stage or of one like it; None: there is none."""
    score: float | None = None
    """Validation BLEU of a training that is done."""

    @property
    def left(self) -> float | None:
        """Seconds still to work."""
        return None if self.rate is None else self.rate * (self.total - self.done)

    @property
    def size(self) -> str:
        """Updates or lines: all of them, or how many are done."""
        begun = f"{self.done:,} of " if 0 < self.done < self.total else ""
        return f"{begun}{self.total:,} {self.unit}"


def survey(site: Site) -> list[Status]:
    """Returns how far each stage has come, in the order of the plan."""
    rates, done = _rates(site), set[str]()
    found: list[Status] = []
    for stage in site.plan.stages:
        state = state_of(site, stage, done.issuperset(stage.needs))
        if state == "done":
            done.add(stage.name)
        status = _of_training if isinstance(stage, Training) else _of_translation
        found.append(status(site, stage, state, rates))  # type: ignore[arg-type]  # the kind was just asked
    return found


def write_tree(site: Site, found: Sequence[Status]) -> None:
    """Keeps the tree with the runs, for `nmt report`."""
    by_name = {status.stage.name: status for status in found}
    rows: list[StageRow] = []
    for stage, depth in site.plan.tree():
        status = by_name[stage.name]
        rows.append(
            StageRow(
                name=stage.name,
                depth=depth,
                does=status.does,
                state=status.state,
                size=status.size,
                seconds=status.seconds,
                left=status.left,
                score=status.score,
            )
        )
    write_json(site.runs / TREE, Tree(title=site.plan.title, stages=tuple(rows)).model_dump(mode="json"))


def _of_training(site: Site, stage: Training, state: State, rates: dict[str, float]) -> Status:
    recipe, run = site.recipe(stage), site.place(stage)
    does = stage.does("-".join(site.languages(stage)))
    updates, score, steps = recipe.training.updates, None, 0
    if state == "done" and (run / "model" / CARD).exists():
        card = read_card(run / "model")
        updates, score = int(card.get("updates", updates)), card.get("validation", {}).get("bleu")
        steps = updates
    elif state == "begun":
        steps = max((int(entry["step"]) for entry in RunFolder(run).entries()), default=0)
    seconds = _seconds(run) if state in ("done", "begun") else 0.0
    rate = _pace(run) or rates.get(_likeness(recipe))
    return Status(stage, does, state, min(steps, updates), updates, "updates", seconds, rate, score)


def _of_translation(site: Site, stage: Translation, state: State, rates: dict[str, float]) -> Status:
    draft, text = draft_of(site, stage), site.texts[stage.translate]
    count = len(stage.voters)
    done = {"done": count * text.lines, "begun": _translated(draft, count, text.lines)}.get(state, 0)
    seconds = {"done": _seconds(site.place(stage)), "begun": _seconds(draft)}.get(state, 0.0)
    return Status(stage, stage.does(), state, done, count * text.lines, "lines", seconds, rates.get(stage.how))


def _rates(site: Site) -> dict[str, float]:
    """Returns seconds per update by likeness of the recipe, and seconds per line by the way to search, from logs."""
    found: dict[str, float] = {}
    for stage in site.plan.stages:
        if isinstance(stage, Training):
            if pace := _pace(site.place(stage)):
                found[_likeness(site.recipe(stage))] = pace
        elif lines := record_of(site.place(stage)).get("lines"):
            found[stage.how] = _seconds(site.place(stage)) / lines
    return found


def _pace(run: Path) -> float | None:
    """Returns the seconds per update of a run, validations included; None if nothing is logged."""
    timed = [entry for entry in RunFolder(run).entries() if entry.get("seconds") and entry["step"]]
    return timed[-1]["seconds"] / timed[-1]["step"] if timed else None


def _likeness(recipe: Recipe) -> str:
    """Returns a fingerprint of what decides most on the time of an update."""
    keys = {"batch_tokens", "accumulate", "r_drop", "recompute", "precision"}
    return fingerprint([recipe.model.model_dump(mode="json"), recipe.training.model_dump(mode="json", include=keys)])


def _translated(draft: Path, count: int, lines: int) -> int:
    """Returns how many lines of an unfinished translation are done."""
    outputs = [draft / f"translation-{number}" for number in range(1, count + 1)]
    return sum(
        lines if path.exists() else int(record_of(draft, drafts(path)[1].name).get("lines", 0)) for path in outputs
    )


def _seconds(folder: Path) -> float:
    return float(record_of(folder).get("seconds", 0.0))
