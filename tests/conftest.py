"""What the tests share: a private home folder, tiny models of every family, and a trained one for the command line."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from nmt.corpus.prepared import Prepared
from nmt.errors import NmtError
from nmt.fast import kernels as compiled
from nmt.fast.kernels import Kernels
from nmt.models import Model
from nmt.runtime.files import home_folder
from nmt_data.prepare import prepare
from tiny import FAMILIES, VISUAL, make_model, make_recipe
from tried import tried_paths


@contextmanager
def _alone(factory: pytest.TempPathFactory, name: str) -> Generator[Path]:
    """A folder that all processes of these tests share, while none of the others is at what has this name."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / f"{name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """NMT_HOME in a folder of the test session; one thread, so that parallel tests do not crowd each other."""
    folder = tmp_path_factory.mktemp("home")
    with suppress(OSError, NmtError):  # kernels are compiled once for all sessions, in the user's cache folder
        (home_folder() / "kernels").mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "kernels").symlink_to(home_folder() / "kernels")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NMT_HOME", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr("nmt_cli.pulse._PATIENCE", 1e9)  # what a command says does not depend on how busy the machine is
        patch.setattr("typer.testing._get_command", cache(get_command))  # a tenth of a second for each call
        patch.setattr("os.fsync", lambda _: None)  # durability against power cuts is not what the tests can see
        with _alone(tmp_path_factory, "kernels"):  # the others wait instead of compiling the same
            compiled.kernels()
        yield folder


@pytest.fixture(params=FAMILIES | VISUAL)
def model(request: pytest.FixtureRequest) -> Model:
    """A tiny model of each family with random weights in float64, ready to translate."""
    return make_model(request.param)


@pytest.fixture(scope="session")
def prepared(home: Path) -> Prepared:
    """The corpus of `make_recipe`."""
    return prepare(make_recipe())


@pytest.fixture(scope="session")
def trained(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a small attention model on the phrasebook, trained for a few seconds by the first that needs it."""
    from nmt.training.trainer import Trainer

    recipe = make_recipe(
        {"kind": "rnn", "embedding": 32, "hidden": 48},
        data={"corpus": "phrasebook", "source": "de", "target": "en", "limit": 3000},
        tokenizer={"kind": "bpe", "vocabulary": 400},
        search={"max_length_ratio": 2.0, "max_length_constant": 10},
        training={
            "updates": 60,
            "validate_every": 30,
            "batch_tokens": 800,
            "log_every": 20,
            "learning_rate": 5e-3,
            "warmup": 5,
        },
    )
    folder, corpus = tmp_path_factory.mktemp("runs") / "trained", prepare(recipe)
    with _alone(tmp_path_factory, "trained") as shared:
        first = shared / "first" / "trained"
        if not (first / "model").exists():
            first.mkdir(parents=True, exist_ok=True)
            Trainer(recipe, corpus, first, torch.device("cpu")).run()
    return shutil.copytree(first, folder)


@pytest.fixture(scope="module", params=tried_paths())
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernels]:
    """The kernels of each set of instructions that this CPU has; search takes them too."""
    with _alone(tmp_path_factory, "kernels"):
        found = compiled.kernels(request.param)
    if found is None:
        pytest.skip("no C compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "instructions", lambda: request.param)
        yield found


@pytest.fixture(scope="session")
def interpreter() -> None:
    """Triton's kernels run on tensors of the CPU, by its interpreter, which is chosen before they are imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    if torch.cuda.is_available():
        pytest.skip("with a GPU the kernels are compiled for it")
    assert os.environ["TRITON_INTERPRET"] == "1"


def pytest_configure() -> None:
    """Without a GPU kernels are interpreted; Triton asks for it when it is imported."""
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the GPU and of real corpora say what is missing instead of failing."""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        if item.get_closest_marker("data") and not os.environ.get("NMT_DATA"):
            item.add_marker(pytest.mark.skip(reason="NMT_DATA is not set"))
