"""A bootstrap: stages in which models are trained, and translate text that later models are trained on.

Back-translation (Sennrich et al. 2016), in rounds (Hoang et al. 2018), forward translation, sequence-level distillation (Kim
and Rush 2016) and data diversification (Nguyen et al. 2020) are all plans of these two kinds of stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, ValidationError, model_validator

from nmt.config.reading import explain_errors, suggestion
from nmt.config.section import Count, Factor, FileName, Section
from nmt.config.toml import read_toml, toml_line
from nmt.errors import ConfigError

PLAN = "bootstrap.toml"
How = Literal["beam", "greedy", "sampling", "top-k"]


class Training(Section):
    """A stage that trains a recipe."""

    name: FileName
    train: str
    """Recipe beside `bootstrap.toml`."""
    set: tuple[str, ...] = ()
    """Overrides, as for `--set`."""
    reverse: bool = False
    """Swap source and target of the recipe's corpora."""
    add: tuple[str, ...] = ()
    """Earlier translations to train on too, as `[[data.more]]`."""
    weight: Factor = 1.0
    """Factor on the share of each corpus in `add`."""
    initialise: str | None = None
    """Earlier training to start from, with its tokenizer."""

    @model_validator(mode="after")
    def _weight_is_of_something(self) -> Self:
        if "weight" in self.model_fields_set and not self.add:
            raise ValueError("weight is for the corpora of add, and there are none")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the stages that this one takes something from."""
        return (*((self.initialise,) if self.initialise else ()), *self.add)

    def does(self, direction: str = "") -> str:
        """Says what the stage does, with the direction of its recipe if that is known."""
        recipe = Path(self.train)
        label = (recipe.name == "recipe.toml" and recipe.parent.name) or recipe.name
        more = [direction] if direction else ["reversed"] if self.reverse else []
        more += [f"with {', '.join(self.add)}"] if self.add else []
        more += [f"from {self.initialise}"] if self.initialise else []
        return ", ".join([f"train {label}", *more])


class Translation(Section):
    """A stage that makes a corpus: a text and its translations."""

    name: FileName
    translate: str
    """Text beside `bootstrap.toml` or under NMT_DATA, in the source language of the models."""
    by: tuple[str, ...] = Field(min_length=1)
    """Earlier trainings. Each of several translates the whole text (Nguyen et al. 2020)."""
    ensemble: bool = False
    """Let the models of `by` vote on each word instead."""
    how: How = "beam"
    """Search by the recipe's beam or greedily, or draw from all tokens or the `top_k` best (Edunov et al. 2018, section 3)."""
    top_k: Count = 10
    """Tokens to draw from for `top-k`."""
    seed: int = 1
    """Seed of the draws of the first model; each further one takes the next, so one model may be named twice."""
    tag: Annotated[str, Field(pattern=r"^\S+$")] | None = None
    """First token of each translation, for back-translation (Caswell et al. 2019); one token of every model of the plan."""

    @model_validator(mode="after")
    def _draws_are_drawn(self) -> Self:
        if "top_k" in self.model_fields_set and self.how != "top-k":
            raise ValueError(f"top_k is for how = 'top-k', got '{self.how}'")
        if "seed" in self.model_fields_set and not self.draws:
            raise ValueError(f"seed is for how = 'sampling' or 'top-k', got '{self.how}'")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the stages that this one takes something from."""
        return self.by

    def does(self) -> str:
        """Says what the stage does."""
        joint = " + " if self.ensemble else ", "
        how = f"top-{self.top_k}" if self.how == "top-k" else self.how
        tag = f", tag {self.tag}" if self.tag else ""
        return f"translate {Path(self.translate).name} by {joint.join(self.by)}, {how}{tag}"

    @property
    def draws(self) -> bool:
        """Whether translations are drawn, and not searched."""
        return self.how in ("sampling", "top-k")

    @property
    def voters(self) -> list[tuple[str, ...]]:
        """The models of each translation of the text."""
        return [self.by] if self.ensemble else [(name,) for name in self.by]


Stage = Training | Translation


class Plan(Section):
    """The stages, in the order in which they run."""

    title: str
    stages: tuple[Stage, ...] = Field(min_length=1)

    @property
    def tags(self) -> list[str]:
        """All tags, each once."""
        return list(dict.fromkeys(stage.tag for stage in self.stages if isinstance(stage, Translation) and stage.tag))

    def stage(self, name: str) -> Stage:
        """Returns the stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def training(self, name: str) -> Training:
        """Returns the training of that name, which is known to be one."""
        return cast(Training, self.stage(name))

    def translation(self, name: str) -> Translation:
        """Returns the translation of that name, which is known to be one."""
        return cast(Translation, self.stage(name))

    def with_needs(self, names: Sequence[str]) -> list[Stage]:
        """Returns the stages of these names and all that they need, in their order; all stages if there is no name.

        Raises:
            ConfigError: no stage has that name.
        """
        known = [stage.name for stage in self.stages]
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"the plan has no stage {unknown[0]!r}{suggestion(unknown[0], known)}")
        wanted = set(names or known)
        for stage in reversed(self.stages):  # what a stage needs comes before it
            if stage.name in wanted:
                wanted.update(stage.needs)
        return [stage for stage in self.stages if stage.name in wanted]

    def tree(self) -> list[tuple[Stage, int]]:
        """Returns the stages with their depths: each is below the last stage that it needs."""

        def below(parent: str | None, depth: int) -> list[tuple[Stage, int]]:
            own = [stage for stage in self.stages if (stage.needs[-1] if stage.needs else None) == parent]
            return [row for stage in own for row in ((stage, depth), *below(stage.name, depth + 1))]

        return below(None, 0)

    @model_validator(mode="after")
    def _stages_take_from_earlier_ones(self) -> Self:
        names = [stage.name for stage in self.stages]
        lower = [name.lower() for name in names]
        if twice := next((name for place, name in enumerate(names) if name.lower() in lower[:place]), None):
            raise ValueError(f"two stages are called {twice}")
        for place, stage in enumerate(self.stages):
            earlier = {item.name: item for item in self.stages[:place]}
            for key, wanted, found in _references(stage):
                for name in found:
                    where = f"stage {stage.name}: {key}"
                    if name not in names:
                        raise ValueError(f"{where}: no stage is called {name!r}{suggestion(name, names)}")
                    if name not in earlier:
                        raise ValueError(f"{where}: {name!r} does not come before it; stages run in the file's order")
                    if not isinstance(earlier[name], wanted):
                        raise ValueError(f"{where}: {name!r} is no {wanted.__name__.lower()}")
        return self


def load_plan(folder: Path) -> Plan:
    """Loads the plan in a folder.

    Raises:
        ConfigError: there is none, or it is invalid.
    """
    path = folder / PLAN
    return parse_plan(read_toml(path), str(path))


def parse_plan(values: Mapping[str, Any], origin: str) -> Plan:
    """Validates the values of a plan; `origin` names their source in errors.

    Raises:
        ConfigError: lists the errors of the first wrong stage, or of the plan, one per line.
    """
    tables = values.get("stages")
    tables = cast(Sequence[Any], tables) if isinstance(tables, list) else []
    stages = [_parse_stage(table, place, origin) for place, table in enumerate(tables, 1)]
    try:
        return Plan.model_validate({**values, "stages": stages})
    except ValidationError as error:
        raise ConfigError(explain_errors(error, Plan, f"{origin}: ")) from None


def plan_in_rounds(
    recipe: str,
    texts: Mapping[str, str],
    direction: tuple[str, str],
    rounds: int,
    how: str,
    tag: str | None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the values of the common plan: backward model, translations, forward model; from round 2 on both directions.

    Each round after the first trains the backward model on the source text too, translated by the last forward model, and the
    forward model on what it translates (iterative back-translation, Hoang et al. 2018, section 4).

    Args:
        recipe: path of the recipe of the forward models; the backward models are its reverse.
        texts: path of the text of each language.
        direction: source and target language.
        rounds: number of forward models.
        how: how translations are found.
        tag: their first token, if any.
        overrides: changes to the recipe of every training.
    """
    source, target = direction
    trained = {"train": recipe, "set": list(overrides)}
    search = {"how": how, **({"tag": tag} if tag else {})}
    stages: list[dict[str, Any]] = []
    for number in range(1, rounds + 1):
        backward, forward = f"backward-{number}", f"forward-{number}"
        back, forth = f"{target}-translated-{number}", f"{source}-translated-{number}"
        learnt: list[str] = []
        if number > 1:
            stages.append({"name": forth, "translate": texts[source], "by": [f"forward-{number - 1}"], **search})
            learnt = [forth]
        stages.append({"name": backward, **trained, "reverse": True, "add": learnt})
        stages.append({"name": back, "translate": texts[target], "by": [backward], **search})
        stages.append({"name": forward, **trained, "add": [back]})
    return {"title": f"Back-translation of {target} text", "stages": stages}


def plan_to_toml(values: Mapping[str, Any]) -> str:
    """Writes the values of a plan as `bootstrap.toml` holds them."""
    tables = [("", {"title": values["title"]}), *(("\n[[stages]]\n", stage) for stage in values["stages"])]
    return "".join(head + "".join(_toml_lines(table)) for head, table in tables)


def _references(stage: Stage) -> list[tuple[str, type[Stage], Sequence[str]]]:
    """Returns the keys that name other stages, with the kind of stage that they want."""
    if isinstance(stage, Translation):
        return [("by", Training, stage.by)]
    start = (stage.initialise,) if stage.initialise else ()
    return [("initialise", Training, start), ("add", Translation, stage.add)]


def _parse_stage(table: Any, place: int, origin: str) -> Stage:
    values = cast(dict[str, Any], table) if isinstance(table, dict) else {}
    name = f"stage {values['name']}" if isinstance(values.get("name"), str) else f"stage {place}"
    kinds: dict[str, type[Stage]] = {"train": Training, "translate": Translation}
    chosen = [key for key in kinds if key in values]
    if len(chosen) != 1:
        raise ConfigError(f"{origin}: {name}: needs either train = RECIPE or translate = TEXT")
    kind = kinds[chosen[0]]
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain_errors(error, kind, f"{origin}: {name}: ")) from None


def _toml_lines(table: Mapping[str, Any]) -> list[str]:
    """Writes keys and values; empty lists are left out."""
    return [f"{toml_line(key, value)}\n" for key, value in table.items() if value != []]
