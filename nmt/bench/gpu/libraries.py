"""CTranslate2's wheel needs CUDA 12's cuBLAS. If there is only version 13, links with the old names serve."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path


def with_version_12(folder: Path) -> None:
    """Makes the links in a folder, if needed, and adds the folder to the library path of later processes."""
    spec = find_spec("nvidia")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = {path.name.partition(".so")[0]: path for place in places for path in place.rglob("libcublas*.so.13")}
    if not found:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in found.items():
        (folder / f"{name}.so.12").symlink_to(path)
    before = os.environ.get("LD_LIBRARY_PATH")
    own = [str(folder), *sorted({str(path.parent) for path in found.values()})]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join([*own, *([before] if before else [])])
