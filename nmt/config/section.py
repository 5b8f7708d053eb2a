"""The base class of recipe sections, the number types of their fields, and their keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_LONGEST_NAME = 100  # a file system allows 255, and names of runs and temporary files are longer


def _file_name(text: str) -> str:
    if not text.strip() or text.startswith(".") or set(text) & set("/:") or not text.isprintable():
        raise ValueError(
            f"names files, so it must not be empty, begin with a dot or hold /, : or signs that cannot be printed, got {text!r}"
        )
    if (size := len(text.encode("utf-8", errors="replace"))) > _LONGEST_NAME:
        raise ValueError(f"names files, so it must take at most {_LONGEST_NAME} bytes, got {size}")
    return text


FileName = Annotated[str, AfterValidator(_file_name)]


Probability = Annotated[float, Field(ge=0, lt=1)]


# Bounds far above real trainings: beyond them numbers overflow, or the computer runs forever.
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]


Width = Annotated[int, Field(gt=0, le=1_000_000)]


Layers = Annotated[int, Field(gt=0, le=1000)]


Length = Annotated[int, Field(ge=0, le=100_000)]


Factor = Annotated[float, Field(gt=0, le=1_000_000)]


Weight = Annotated[float, Field(ge=0, le=1_000_000_000)]


class Section(BaseModel):
    """A frozen part of a recipe that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def dotted(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of nested dictionaries by their keys, joined by dots."""
    if not isinstance(value, dict):
        yield prefix.removesuffix("."), value
        return
    for key, inner in cast(dict[str, Any], value).items():
        yield from dotted(inner, f"{prefix}{key}.")
