"""Reads recipes and checks them, with file, key and nearest known name in every error; and writes them."""

from __future__ import annotations

import copy
import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError

from nmt.config.data import TokenizerConfig
from nmt.config.model import ConvolutionConfig, RnnConfig, TransformerConfig, VisualConfig
from nmt.config.paths import is_there, model_root, taken_tokenizer, with_absolute_paths, with_relative_paths
from nmt.config.recipe import Recipe
from nmt.config.search import SamplingConfig, SearchConfig
from nmt.config.section import Section
from nmt.config.toml import read_toml, toml_lines
from nmt.errors import ConfigError

SectionType = TypeVar("SectionType", bound=Section)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file (or a folder that holds `recipe.toml`) and applies `key.path=value` overrides.

    Paths in the file are looked for beside it, then in the current folder; those of overrides the other way round.

    Args:
        path: of the file or the folder.
        overrides: for example `model.layers=2`; values as in TOML, strings with or without quotes.

    Raises:
        ConfigError: naming the file or the override, every wrong key and value, and the nearest known key.
    """
    path, overrides = Path(path), _checked_overrides(overrides)
    path = path / "recipe.toml" if is_there(path) and path.is_dir() else path
    if not is_there(path):
        raise ConfigError(f"{path}: no such recipe{suggestion(path.name, _siblings(path))}")
    beside, here = path.parent, Path()
    values = with_absolute_paths(read_toml(path), (beside, here))
    changed = copy.deepcopy(values)
    for override in overrides:
        _override(changed, override)
    values, changed = _with_tokenizer(values), _with_tokenizer(with_absolute_paths(changed, (here, beside)))
    try:
        return Recipe.model_validate(changed)
    except ValidationError as error:
        of_file = _errors(values)
        origins = [path if _text(item) in of_file else _settings(item, overrides) for item in error.errors()]
        lines = [f"{origin}: {_explain(item, Recipe)}" for origin, item in zip(origins, error.errors(), strict=True)]
        raise ConfigError("\n".join(lines)) from None


def _checked_overrides(given: object) -> list[str]:
    """Refuses a single text, whose letters would be taken one by one, and what is no list of text."""
    if isinstance(given, (list, tuple)):
        items = list(cast(Sequence[object], given))
        texts = [item for item in items if isinstance(item, str)]
        if len(texts) == len(items):
            return texts
    raise ConfigError(f"overrides must be a list of key=value, for example ['model.layers=2'], got {given!r}")


def _with_tokenizer(values: dict[str, Any]) -> dict[str, Any]:
    """Adds the tokenizer settings of the model whose tokenizer is used, if it exists."""
    model = taken_tokenizer(values)
    path = model_root(Path(model or "")) / "recipe.toml"
    if model is None or not is_there(path):
        return values
    settings = read_toml(path).get("tokenizer")
    return {**values, "tokenizer": {**(settings if isinstance(settings, dict) else {}), "model": model}}


def _errors(values: dict[str, Any]) -> set[str]:
    """Returns the errors of a recipe."""
    try:
        Recipe.model_validate(values)
    except ValidationError as error:
        return set(map(_text, error.errors()))
    return set()


def _text(item: Any) -> str:
    return f"{item['loc']}: {item['msg']}"


def _settings(item: Any, overrides: Sequence[str]) -> str:
    """Returns the overrides that an error is about: of its key, or of keys within or around it; otherwise all."""
    key = ".".join(_location(item))
    names = {override: override.partition("=")[0].strip() for override in overrides}
    own = [
        override
        for override, name in names.items()
        if not key or f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}.")
    ]
    return ", ".join(own or overrides)


def parse_recipe(values: dict[str, Any], origin: str) -> Recipe:
    """Validates the nested values of a recipe; `origin` names their source in errors.

    Raises:
        ConfigError: lists all errors, one per line.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain_errors(error, Recipe, f"{origin}: ")) from None


def parse_search(base: SearchConfig, changes: Mapping[str, object]) -> SearchConfig:
    """Returns search settings with the changes that are not None.

    Raises:
        ConfigError: names each wrong option.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    return _parse_section(SearchConfig, {**base.model_dump(), **given})


def parse_sampling(values: Mapping[str, object]) -> SamplingConfig:
    """Makes sampling settings from the values that are not None.

    Raises:
        ConfigError: names each wrong option.
    """
    return _parse_section(SamplingConfig, {key: value for key, value in values.items() if value is not None})


def parse_tokenizer(values: dict[str, Any]) -> TokenizerConfig:
    """Makes tokenizer settings from plain values.

    Raises:
        ConfigError: names each wrong option.
    """
    return _parse_section(TokenizerConfig, values)


def explain_errors(error: ValidationError, section: type[BaseModel], origin: str = "") -> str:
    """Explains all errors of a section, one per line: place, key and nearest known name."""
    errors = error.errors()
    # pydantic also calls a list too short whose entries are wrong
    wrong = [item for item in errors if item["type"] != "too_short" or item["input"] in ((), [])]
    return "\n".join(origin + _explain(item, section) for item in wrong or errors)


def recipe_to_toml(recipe: Recipe, folder: Path | None = None) -> str:
    """Writes the resolved recipe as TOML that can be run again; paths are relative to the folder, if given."""
    values = recipe.model_dump(exclude_none=True)
    return "\n".join(toml_lines(with_relative_paths(values, folder) if folder else values, ()))


def recipe_schema() -> str:
    """Returns the JSON schema of a recipe, for editors."""
    return json.dumps(Recipe.model_json_schema(), indent=2)


def option_names(section: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Returns the dotted names of all options of a recipe; those of a model family are under `model[kind]`."""
    if section is Recipe:
        families = [name for kind, model in FAMILIES.items() for name in option_names(model, f"model[{kind}].")]
        return [name for name in _fields(section, "") if not name.startswith("model")] + families
    return _fields(section, prefix)


FAMILIES: dict[str, type[Section]] = {
    "rnn": RnnConfig,
    "transformer": TransformerConfig,
    "convolution": ConvolutionConfig,
    "visual": VisualConfig,
}


def _parse_section(section: type[SectionType], values: dict[str, Any]) -> SectionType:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain_errors(error, section)) from None


def _fields(section: type[BaseModel], prefix: str) -> list[str]:
    names: list[str] = []
    for name, field in section.model_fields.items():
        inner = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        names += _fields(field.annotation, f"{prefix}{name}.") if inner else [prefix + name]  # type: ignore[arg-type]
    return names


def _explain(item: Any, section: type[BaseModel]) -> str:
    """Explains one validation error in a sentence that names the key."""
    location = _location(item)
    key = ".".join(part if re.fullmatch(r"[\w-]+", part) else json.dumps(part, ensure_ascii=False) for part in location)
    message = "must have an entry" if item["type"] == "too_short" else str(item["msg"]).removeprefix("Value error, ")
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key {key}{_nearest(location, _known_keys(section, item['loc'][:-1]), section)}"
        case "missing":
            return f"{key} is missing"
        case "union_tag_invalid" | "union_tag_not_found":
            kinds = str(item["ctx"].get("expected_tags") or ", ".join(FAMILIES)).replace("'", "").split(", ")
            hint = suggestion(str(item["input"].get("kind", "")), kinds)
            return f"{key}.kind must be one of {', '.join(kinds)}{hint}"
        case "value_error" | "too_short":
            return f"{key}: {message}" if key else message
        case "literal_error":
            hint = suggestion(str(item["input"]), _quoted(item))
            return f"{key} must be {item['ctx']['expected']}, got {item['input']!r}{hint}"
        case _:
            told = f"{message[0].lower()}{message[1:]}"
            return f"{key}: {told}, got {item['input']!r}" if key else told


def _location(item: Any) -> list[str]:
    """Returns the names of sections and key; pydantic puts union members between them, for example "constrained-int"."""
    parts = list(map(str, item["loc"]))
    end = len(parts) - (item["type"] == "extra_forbidden")  # that key is a user's
    parts = parts[:-2] if parts[end - 1 : end] == ["[key]"] else parts  # a wrong key is shown as the input
    return [part for part in parts[:end] if part not in FAMILIES and not _UNION.fullmatch(part)] + parts[end:]


_UNION = re.compile(r"constrained-\w+|[\w-]*\[.*\]", re.DOTALL)  # as in `constrained-int`, `literal['auto']`


def _nearest(location: Sequence[str], known: Sequence[str], section: type[BaseModel]) -> str:
    """Asks for the known key nearest to a wrong one: of its section or, for a key of no section, of any section."""
    word = location[-1].replace("-", "_")
    options = reversed(option_names() if section is Recipe and len(location) == 1 else [])
    dotted = {name.rpartition(".")[2]: re.sub(r"\[\w+\]", "", name) for name in options}
    for names in (dict(zip(known, known, strict=True)), dotted):
        if close := difflib.get_close_matches(word, names, n=1, cutoff=0.6):
            return f" (did you mean {names[close[0]]}?)"
    return ""


def _quoted(item: Any) -> list[str]:
    return [part for part in str(item["ctx"]["expected"]).split("'") if part.strip(", ") not in ("", "or")]


def _known_keys(section: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    for part in location:
        if part in FAMILIES:
            section = FAMILIES[part]
        elif part in section.model_fields:
            annotation = section.model_fields[part].annotation
            members = (annotation, *get_args(annotation))  # a section, or a list of sections
            models = [item for item in members if isinstance(item, type) and issubclass(item, BaseModel)]
            section = models[0] if models else section
    return list(section.model_fields)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Returns a question that names the known word nearest to a wrong one, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def _siblings(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(part.strip() for part in key.split(".")):
        raise ConfigError(f"{override}: expected key=value, for example model.layers=2")
    *parents, last = key.strip().split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{override}: {parent} is a value, not a section")
        values = cast(dict[str, Any], child)
    values[last] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    """Parses a TOML value; anything else (a bare word) is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or a number of thousands of digits
        return text
