"""The wheel holds exactly the three packages, and installs as one command."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_holds_the_three_packages_and_nothing_else(tmp_path: Path) -> None:
    """The wheel contains every file of the packages, no other package, and the `nmt` command."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nmt", "nmt_data", "nmt_cli"}
    for package, folder in (("nmt", "nmt"), ("nmt_data", "data/nmt_data"), ("nmt_cli", "cli/nmt_cli")):
        files = {
            str(path.relative_to(ROOT / folder))
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".toml", ".typed", ".css", ".html", ".js", ".svg", ".c", ".h")
        }
        assert {name.removeprefix(f"{package}/") for name in names if name.startswith(f"{package}/")} == files
    scripts = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert "nmt = nmt_cli.main:app" in scripts


def test_dependencies_have_lower_bounds_only() -> None:
    """Every dependency in pyproject.toml is given a minimum release and no upper limit."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [item for extra in project["optional-dependencies"].values() for item in extra]
    for dependency in [*project["dependencies"], *optional]:
        assert re.fullmatch(r"[\w.-]+(\[\w+\])?>=[\d.]+(; sys_platform == \'linux\')?", dependency), dependency


@pytest.mark.slow
def test_setup_from_an_active_environment_does_not_count_on_its_packages(tmp_path: Path) -> None:
    """The new environment sees system packages only if the base interpreter itself has torch."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = shlex.quote(sys.executable)  # of this environment, which has torch
    subprocess.run(["make", f"PYTHON={python}", ".venv/bin/python"], cwd=tmp_path, check=True, capture_output=True)
    beneath = [vars(sys)["_base_executable"], "-c", "import torch"]
    has_torch = subprocess.run(beneath, capture_output=True, check=False).returncode == 0
    seen = "include-system-site-packages = true" in (tmp_path / ".venv/pyvenv.cfg").read_text()
    assert seen == has_torch


def test_the_version_stands_in_one_form() -> None:
    """The version that pyproject.toml declares equals `nmt.__version__`."""
    import nmt

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == nmt.__version__


def test_importing_nmt_brings_no_torch() -> None:
    """After `import nmt` in a fresh interpreter, torch has not been loaded."""
    code = "import sys, nmt; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "False"
