"""A folder from somebody else is refused in one line within seconds, or read: never a traceback, never a wait."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from command import run
from nmt.corpus.prepared import Prepared
from nmt.errors import CheckpointError, DataError, NmtError
from nmt.runtime.files import file_sha256
from nmt.runtime.untrusted import parse_object, read_regular
from nmt.storage import bundle, integrity
from nmt.storage import checkpoint as store
from nmt.storage.run_folder import RunFolder
from nmt.training.trainer import Trainer
from tiny import make_recipe

RECIPE = make_recipe({"kind": "rnn", "embedding": 4, "hidden": 4}, training={"updates": 2, "validate_every": 1})
BUNDLE = ["MANIFEST.json", "card.json", "recipe.toml", "joint.spm", integrity.WEIGHTS]
CHECKPOINT = ["MANIFEST.json", store.PROGRESS, integrity.STATE, integrity.WEIGHTS]
OF_RUN = ["recipe.toml", "joint.spm", "log.jsonl", "checkpoints/best.json"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def original(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with two checkpoints and a bundle."""
    folder = tmp_path_factory.mktemp("untrusted") / "run"
    folder.mkdir()
    Trainer(RECIPE, prepared, folder, torch.device("cpu")).run()
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to harm."""
    return shutil.copytree(original, tmp_path / "run")


def _newest(folder: Path) -> Path:
    return store.checkpoints(folder / "checkpoints")[-1]


def _sign(place: Path) -> None:
    """Writes the manifest anew, as somebody does who means harm."""
    files = [
        path for path in place.iterdir() if path.name != integrity.MANIFEST and path.is_file() and not path.is_symlink()
    ]
    entries = {path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in files}
    (place / integrity.MANIFEST).write_text(json.dumps(entries))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 255
    path.write_bytes(bytes(data))


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.unlink()
        make(path)

    return harm


HARMS: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": _flip,
    "nested": lambda path: path.write_bytes(b'{"a":' * 100_000),
    "nested toml": lambda path: path.write_bytes(b"a = " + b"[" * 100_000),
    "another": lambda path: path.write_bytes(b'[{"checkpoint": "../../x", "vocabulary": 3, "step": "x"}]'),
    "object": lambda path: path.write_bytes(b'{"checkpoint": [], "vocabulary": {"source": null}, "sums": 1}'),
    "huge": lambda path: os.truncate(path, 2**40),
    "pipe": _instead(os.mkfifo),
    "device": _instead(lambda path: path.symlink_to("/dev/zero")),
    "link": _instead(lambda path: path.symlink_to("/etc/hostname")),
    "folder": _instead(lambda path: path.mkdir()),
    "gone": lambda path: path.unlink(),
}


def _refused_or_read(action: Callable[[], object]) -> str | None:
    """The error of an action, which may not wait."""

    def too_long(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    try:
        action()
    except NmtError as error:
        return str(error)
    finally:
        signal.alarm(0)
    return None


@pytest.mark.parametrize("signed", [False, True], ids=["", "signed"])
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_model_is_refused_or_read(folder: Path, harm: str, signed: bool) -> None:
    """Each file of a bundle and of a checkpoint, harmed in each way, with the manifest of before or one that agrees."""
    newest = _newest(folder)
    files = [(folder / "model", name) for name in BUNDLE] + [(newest, name) for name in CHECKPOINT]
    for place, name in files:
        copy = place.with_name("step-00000009" if place == newest else "copy")
        shutil.copytree(place, copy)
        HARMS[harm](copy / name)
        if signed and name != integrity.MANIFEST and harm != "huge":
            _sign(copy)
        error = _refused_or_read(lambda copy=copy: bundle.load_model(copy))
        assert signed or error, f"{harm} {name} was taken for sound"
        if harm in ("pipe", "device", "link", "folder", "huge"):
            assert error, f"{harm} {name} was read"
        shutil.rmtree(copy)


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_run_is_refused_or_read(folder: Path, prepared: Prepared, harm: str) -> None:
    """What lies beside the checkpoints: read, averaged, gone on from."""
    for name in OF_RUN:
        copy = shutil.copytree(folder, folder.with_name("copy"))
        HARMS[harm](copy / name)
        for latest in (True, False):
            _refused_or_read(lambda copy=copy, latest=latest: bundle.load_model(copy, latest))
        _refused_or_read(RunFolder(copy).entries)
        shutil.rmtree(copy)


@pytest.mark.parametrize("harm", ["empty", "nested", "object", "pipe", "device"])
@pytest.mark.parametrize("signed", [False, True], ids=["", "signed"])
def test_training_goes_on_from_what_is_sound(folder: Path, prepared: Prepared, harm: str, signed: bool) -> None:
    """Or says in one line why not."""
    newest = _newest(folder)
    for name in (*OF_RUN, *(f"{newest.relative_to(folder)}/{name}" for name in (store.PROGRESS, integrity.STATE))):
        copy = shutil.copytree(folder, folder.with_name("copy"))
        HARMS[harm](copy / name)
        if signed and harm != "huge":
            _sign(_newest(copy))
        error = _refused_or_read(Trainer(RECIPE, prepared, copy, torch.device("cpu")).run)
        assert signed or error is None or name in OF_RUN
        shutil.rmtree(copy)


@pytest.mark.parametrize("name", ["/dev/zero", "../x", "a/b", "", ".", "weights.safetensors\0", "step-1", "README.md"])
def test_a_manifest_names_parts_of_a_model_alone(folder: Path, name: str) -> None:
    """No path, no device, nothing outside of the folder."""
    path = folder / "model" / integrity.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), name: {"size": 0, "sha256": "0" * 64}}))
    with pytest.raises(CheckpointError, match="no part of a checkpoint or model"):
        bundle.load_model(folder / "model")


@pytest.mark.parametrize(
    "content", [{}, {integrity.WEIGHTS: {"size": -1, "sha256": ""}}, {integrity.WEIGHTS: 3}, [], None]
)
def test_a_manifest_lists_all_that_is_read(folder: Path, content: Any) -> None:
    """An empty one vouches for nothing."""
    (folder / "model" / integrity.MANIFEST).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"damaged: MANIFEST.json (does not list|cannot be read)"):
        bundle.load_model(folder / "model")


def _header(entries: dict[str, Any], size: int = 0) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


@pytest.mark.parametrize(
    "data",
    [
        _header({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, 1),
        _header({"a": {"dtype": "U7", "shape": [2], "data_offsets": [0, 2]}}, 2),
        _header({"a": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}, 2),
        _header({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 2**64 - 1]}}),
        _header({"a": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}),
        _header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, 8),
        _header({"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, 8),
        (2**63).to_bytes(8, "little"),
        b"",
        save({"a": torch.zeros(1, dtype=torch.complex64)}),
    ],
)
def test_strange_tensors_are_refused(folder: Path, data: bytes) -> None:
    """Unknown kinds of numbers, sizes that are not there, places that overlap."""
    for place in (folder / "model", _newest(folder)):
        (place / integrity.WEIGHTS).write_bytes(data)
        _sign(place)
        with pytest.raises(CheckpointError):
            bundle.load_model(place)
        with pytest.raises(CheckpointError):
            store.read_weights(place)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([f"model/{bundle.CARD}", f"checkpoints/step-00000002/{store.PROGRESS}"]), st.data())
def test_any_json_is_refused_or_read(original: Path, tmp_path: Path, name: str, data: st.DataObject) -> None:
    """A value of a card or of a state replaced by another, by the command line too."""
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    path = folder / name
    values = json.loads(path.read_text())
    values[data.draw(st.sampled_from(sorted(values)))] = data.draw(JSON)
    path.write_text(json.dumps(values))
    _sign(path.parent)
    shown = run("info", path.parent)
    assert shown.exit_code in (0, 1)
    assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.exception


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_object_is_a_value_error(data: bytes) -> None:
    """Bytes of any kind."""
    with suppress(ValueError):
        assert isinstance(parse_object(data), dict)


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A file of the allowed size is read, a larger one is refused."""
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular(tmp_path / "file", 4)


@pytest.mark.parametrize("harm", ["truncated", "empty", "nested", "pipe", "device", "folder", "gone"])
def test_a_harmed_corpus_is_refused_or_read(prepared: Prepared, tmp_path: Path, harm: str) -> None:
    """Arrow files, tokenizers and the report of a prepared folder."""
    for name in ("train.arrow", "joint.spm", "report.json"):
        copy = shutil.copytree(prepared.folder, tmp_path / name)
        HARMS[harm](copy / name)

        def read(copy: Path = copy) -> object:
            found = Prepared(copy)
            return found.report, found.tokenizers, found.train

        assert _refused_or_read(read), name


def test_an_arrow_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    """Other columns, other types, sentences that lie outside of the file."""
    import pyarrow as pa

    from nmt.corpus.encoded import read_corpus

    whole = pa.array([[1, 2]], pa.large_list(pa.uint32()))
    sides: list[dict[str, Any]] = [
        {"source": pa.array([1])},
        {"source": pa.array([[1]]), "target": pa.array([["x"]])},
        {"source": whole, "target": whole},
    ]
    for columns in sides:
        batch = pa.record_batch(list(columns.values()), names=list(columns))
        with pa.OSFile(str(tmp_path / "file"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data = (tmp_path / "file").read_bytes()
        (tmp_path / "file").write_bytes(data.replace(struct.pack("<qq", 0, 2), struct.pack("<qq", 0, 90)))
        with pytest.raises(DataError, match="not an encoded corpus"):
            read_corpus(tmp_path / "file")
