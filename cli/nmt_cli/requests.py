"""Commands that take one request: a frozen dataclass whose fields are the options."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

Request = TypeVar("Request")


def takes_request(request: type[Request]) -> Callable[[Callable[[Request], None]], Callable[..., None]]:
    """Makes a command of a function of a request; each field is an option, declared by its annotation for Typer.

    A field that is itself a dataclass is a group: its fields are options of the same command.
    """

    def decorate(command: Callable[[Request], None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            command(_built(request, given))

        fields = _fields(request)
        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        run.__annotations__ = {field.name: field.annotation for field in fields}
        run.__signature__ = inspect.Signature(fields)  # type: ignore[attr-defined]
        return run

    return decorate


def options(request: object) -> dict[str, Any]:
    """Returns the value of each option, with those of groups."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(request):  # type: ignore[arg-type]
        value = getattr(request, field.name)
        found |= options(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


@cache
def field_help(module: str, section: str) -> Mapping[str, str]:
    """Returns the help of a section's fields, read from its source so that the command's help need not import pydantic."""
    spec = find_spec(module)
    body = ast.parse(Path(str(spec and spec.origin)).read_text(encoding="utf-8")).body
    (found,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == section)
    texts: dict[str, str] = {}
    for field, text in zip(found.body, found.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            texts[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split()).replace("`", "")
    return texts


def _fields(request: type[Any]) -> list[inspect.Parameter]:
    """Returns the options as parameters, in the order of the fields."""
    hints = get_type_hints(request, include_extras=True)
    found: list[inspect.Parameter] = []
    for field in dataclasses.fields(request):
        if dataclasses.is_dataclass(hints[field.name]):
            found += _fields(hints[field.name])
            continue
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        kind = inspect.Parameter.KEYWORD_ONLY
        found.append(inspect.Parameter(field.name, kind, default=default, annotation=hints[field.name]))
    return found


def _built(request: type[Request], given: Mapping[str, Any]) -> Request:
    """Builds the request from the given options."""
    values: dict[str, Any] = {}
    for name, kind in get_type_hints(request).items():
        group = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        values[name] = _built(kind, given) if group else given[name]
    return request(**values)
