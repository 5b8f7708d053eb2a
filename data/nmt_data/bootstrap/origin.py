"""What a bootstrap's stage is made from, as a fingerprint: a stage is made anew when it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmt.corpus.tokenizer import Tokenizers
from nmt.experiments.bootstrap import Stage, Training, Translation
from nmt.runtime.files import fingerprint
from nmt.storage.bundle import locate, read_recipe, run_of
from nmt.storage.integrity import check_manifest, damaged
from nmt_data.bootstrap.site import Site, font_sha256
from nmt_data.parts import fingerprint_of, parts_of


def origin_of(site: Site, stage: Stage) -> str:
    """Returns the fingerprint of everything that decides on the product of a stage; what it needs has to be done.

    The number of updates is left out: a training goes on if it is raised.
    """
    return fingerprint(_of_training(site, stage) if isinstance(stage, Training) else _of_translation(site, stage))


def searches_of(site: Site, stage: Translation) -> list[dict[str, Any]]:
    """Returns the search settings of each translation of the text: those of its first model's recipe as it is now."""
    single = {} if stage.how == "beam" else {"beam": 1, "groups": 1}
    recipes = [site.recipe(site.plan.training(first)) for first, *_ in stage.voters]
    return [recipe.search.model_dump(exclude={"batch_tokens"}) | single for recipe in recipes]


def _of_training(site: Site, stage: Training) -> dict[str, Any]:
    recipe = site.recipe(stage)
    start = recipe.training.initialise
    # Of files the content counts, and not its place.
    places = {"corpus": True, "more": {"__all__": {"corpus"}}, "mono": {"__all__": {"files"}}}
    harmless = {"updates", "keep", "log_every"}
    training = {"initialise", *harmless}
    left_out: dict[str, Any] = {
        "data": places,
        "tokenizer": {"model"},
        "model": {"font"},
        "training": training,
        "search": True,
    }
    return {
        "recipe": recipe.model_dump(mode="json", exclude=left_out, exclude_defaults=True),
        "corpus": fingerprint_of(recipe, parts_of(recipe), Tokenizers.taken(recipe)),
        "font": font_sha256(recipe),
        "start": _identity(Path(start)) if start else None,
    }


def _of_translation(site: Site, stage: Translation) -> dict[str, Any]:
    return {
        "text": site.texts[stage.translate].sha256,
        "languages": site.languages(stage),
        "models": [_identity(site.model(name)) for name in stage.by],
        "how": stage.model_dump(mode="json", include={"ensemble", "how", "tag"}),
        "search": searches_of(site, stage),
        "draws": [stage.top_k if stage.how == "top-k" else None, stage.seed] if stage.draws else None,
    }


def _identity(path: Path) -> Any:
    """Returns what a model is, wherever it lies: its shape, and hashes of weights, tokenizers and font."""
    place = locate(path)
    with damaged(place):
        manifest = check_manifest(place)
    recipe = read_recipe(place if "recipe.toml" in manifest else run_of(place))
    parts = {name: entry["sha256"] for name, entry in manifest.items() if name.endswith((".safetensors", ".spm"))}
    shape = recipe.model_dump(mode="json", include={"model"}, exclude={"model": {"font"}}, exclude_defaults=True)
    return [parts, shape, font_sha256(recipe)]
