"""Self-contained HTML pages: no network, light and dark, readable on a phone. Their templates lie in `templates/`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nmt import __version__


def write_page(template: str, **values: Any) -> str:
    """Fills a template of `templates/`; all values are escaped."""
    return _templates().get_template(template).render(version=__version__, **values)


def number(value: Any) -> str:
    """Formats a whole number, or a dash for what is none."""
    return f"{value:,.0f}" if isinstance(value, (int, float)) else "-"


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("nmt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "default": asdict}
    environment.filters |= {"number": number, "indented": _indented, "joined": _joined}
    return environment


def _indented(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _joined(scripts: str) -> str:
    """Makes one script of several that import from each other and stand in order."""
    return "".join(line for line in scripts.splitlines(keepends=True) if not line.startswith("import "))
