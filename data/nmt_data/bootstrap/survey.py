"""The tree of a bootstrap's stages: what each does, how far it has come, how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nmt.config.recipe import Recipe
from nmt.experiments.bootstrap import Training, Translation
from nmt.report.stages import TREE, StageRow, Tree
from nmt.runtime.atomic import write_json
from nmt.runtime.files import drafts, fingerprint
from nmt.storage.bundle import read_card
from nmt.storage.run_folder import RunFolder
from nmt.storage.run_log import CARD
from nmt_data.bootstrap.progress import State, draft_of, record_of, state_of
from nmt_data.bootstrap.site import Site


def survey(site: Site) -> list[StageRow]:
    """Returns how far each stage has come, in the order of the plan."""
    rates, done = _rates(site), set[str]()
    depths = {stage.name: depth for stage, depth in site.plan.tree()}
    found: list[StageRow] = []
    for stage in site.plan.stages:
        state = state_of(site, stage, done.issuperset(stage.needs))
        if state == "done":
            done.add(stage.name)
        if isinstance(stage, Training):
            found.append(_of_training(site, stage, depths[stage.name], state, rates))
        else:
            found.append(_of_translation(site, stage, depths[stage.name], state, rates))
    return found


def tree_of(site: Site, found: Sequence[StageRow]) -> Tree:
    """Returns the stages that are found, each below the last stage that it needs."""
    rows = {row.name: row for row in found}
    order = [stage.name for stage, _ in site.plan.tree()]
    return Tree(title=site.plan.title, stages=tuple(rows[name] for name in order if name in rows))


def write_tree(site: Site, found: Sequence[StageRow]) -> None:
    """Keeps the tree with the runs, for `nmt report`."""
    write_json(site.runs / TREE, tree_of(site, found).model_dump(mode="json"))


def _of_training(site: Site, stage: Training, depth: int, state: State, rates: dict[str, float]) -> StageRow:
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
    steps = min(steps, updates)
    return StageRow(
        name=stage.name,
        depth=depth,
        does=does,
        state=state,
        size=_size(steps, updates, "updates"),
        seconds=seconds,
        left=None if rate is None else rate * (updates - steps),
        score=score,
    )


def _of_translation(site: Site, stage: Translation, depth: int, state: State, rates: dict[str, float]) -> StageRow:
    draft, text = draft_of(site, stage), site.texts[stage.translate]
    count = len(stage.voters)
    total, rate = count * text.lines, rates.get(stage.how)
    done = {"done": total, "begun": _translated(draft, count, text.lines)}.get(state, 0)
    seconds = {"done": _seconds(site.place(stage)), "begun": _seconds(draft)}.get(state, 0.0)
    return StageRow(
        name=stage.name,
        depth=depth,
        does=stage.does(),
        state=state,
        size=_size(done, total, "lines"),
        seconds=seconds,
        left=None if rate is None else rate * (total - done),
        score=None,
    )


def _size(done: int, total: int, unit: str) -> str:
    """Says how many updates or lines there are in all, and how many of them are done if not all or none."""
    begun = f"{done:,} of " if 0 < done < total else ""
    return f"{begun}{total:,} {unit}"


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
