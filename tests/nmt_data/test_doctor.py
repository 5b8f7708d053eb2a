"""Each finding of `nmt doctor` on the machine, the room, the sizes and the prepared corpus is provoked by what it tells of."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nmt.config.reading import load_recipe
from nmt.config.recipe import Recipe
from nmt.errors import NmtError
from nmt.training.needs import Needs
from nmt_data.doctor import machine, room
from nmt_data.doctor.corpus import dropped, leaks, long_sentences, unknown
from nmt_data.doctor.examine import examine
from nmt_data.doctor.finding import Finding, fails
from nmt_data.doctor.sizes import model_size, vocabulary
from nmt_data.parts import parts_of
from nmt_data.prepare import prepare
from tiny import LETTERS, make_recipe

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[2] / "recipes"
GIGABYTE = 10**9
NEEDS = Needs(
    parameters=10**6,
    state=16 * 10**6,
    kept=10**6,
    libraries=GIGABYTE // 4,
    caches=GIGABYTE,
    checkpoint=12 * 10**6,
    checkpoints=5,
)


def found(findings: Iterator[Finding] | list[Finding], topic: str) -> list[Finding]:
    """The findings of a topic."""
    return [finding for finding in findings if finding.topic == topic]


def test_a_hale_recipe_has_no_problem_and_its_speed_is_measured(tmp_path: Path) -> None:
    """Every topic is there, none is a problem, and the time is that of all updates at the speed measured."""
    findings = list(examine(make_recipe(), tmp_path / "run", "cpu"))
    assert not fails(findings), [finding.line for finding in findings if finding.level == "problem"]
    topics = {"versions", "CPU", "kernels", "threads", "GPU", "corpus", "encoding", "memory", "disk", "model", "speed"}
    assert topics <= {finding.topic for finding in findings}
    figures = found(findings, "speed")[0].figures
    assert figures["seconds"] == pytest.approx(6 / figures["updates_per_second"])
    assert figures["memory"] > 100e6
    assert not (tmp_path / "run").exists()


def test_without_a_recipe_the_machine_alone_is_looked_at() -> None:
    """The five topics of the machine, and no more."""
    assert [item.topic for item in examine(None)][:4] == ["versions", "CPU", "kernels", "threads"]
    assert {item.topic for item in examine(None)} == {"versions", "CPU", "kernels", "threads", "GPU"}


@pytest.mark.parametrize(
    ("sections", "topic", "text"),
    [
        ({"data": {"corpus": "letter"}}, "corpus", "no card letter"),
        ({"data": {"target": "other"}}, "corpus", "data.target"),
        ({"data": {"cleaning": {"max_words": 1, "drop_identical": True}}}, "corpus", "no training pair is left"),
        ({"tokenizer": {"kind": "bpe", "vocabulary": 100_000}}, "corpus", "tokenizer.vocabulary = 100000"),
        ({"training": {"max_length": 1}}, "corpus", "training.max_length = 1"),
        ({"training": {"freeze": ("nothing",)}}, "model", "training.freeze"),
    ],
)
def test_what_training_would_refuse_is_a_problem(sections: Any, topic: str, text: str, tmp_path: Path) -> None:
    """An error of preparing or training is a finding of one line, told once, not an abort."""
    findings = list(examine(make_recipe(**sections), tmp_path / "run", "cpu", probe=False))
    (problem,) = [finding for finding in findings if finding.level == "problem"]
    assert problem.topic == topic
    assert text in problem.text
    assert "\n" not in problem.line


def test_another_recipe_in_the_run_folder_is_a_problem(tmp_path: Path) -> None:
    """The folder of a run that was begun with another recipe, or with files that are no run's, is refused as by training."""
    (tmp_path / "log.jsonl").write_text("mine\n")
    assert found(list(examine(make_recipe(), tmp_path, "cpu", probe=False)), "run")[0].level == "problem"


def test_a_device_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """As `--device` of training would say."""
    findings = list(examine(make_recipe(), tmp_path / "run", "cuda:99", probe=False))
    assert findings[-1].topic == "device" or torch.cuda.is_available()


def test_a_probe_that_fails_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is that of the training; memory that ran out has a remedy."""

    def probe(*_: object) -> None:
        raise NmtError("memory is used up (MemoryError)")

    monkeypatch.setattr("nmt_data.doctor.speed.probe_training", probe)
    (speed,) = found(list(examine(make_recipe(), tmp_path / "run", "cpu")), "speed")
    assert (speed.level, "memory is used up" in speed.text) == ("problem", True)
    assert "training.batch_tokens" in speed.remedy


def test_a_model_to_start_from_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """Found before any update is tried."""
    recipe = make_recipe(training={"initialise": str(tmp_path / "nothing")}, tokenizer={"model": "new"})
    findings = list(examine(recipe, tmp_path / "run", "cpu"))
    (model,) = (finding for finding in found(findings, "model") if finding.level == "problem")
    assert "nothing" in model.text
    assert not found(findings, "speed")


def test_memory_that_is_too_small_names_the_key_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little for the first updates is a problem; too little in the end is worth a look."""
    for free, level in ((GIGABYTE // 10, "problem"), (GIGABYTE, "advice"), (3 * GIGABYTE, "ok")):
        monkeypatch.setattr(room, "memory_there", lambda _, free=free: free)
        finding = room.memory(make_recipe(), NEEDS, CPU)
        assert finding.level == level
        assert ("model.width" in finding.remedy) == (level != "ok")
    monkeypatch.setattr(room, "memory_there", lambda _: GIGABYTE)
    large = replace(NEEDS, kept=2 * GIGABYTE)
    assert "training.batch_tokens = 256" in room.memory(make_recipe(), large, CPU).remedy
    on_gpu = replace(large, libraries=0, caches=0)
    assert room.memory(make_recipe(), on_gpu, torch.device("cuda")).level == "advice"


def test_a_disk_that_is_too_small_names_what_to_lower(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For checkpoints `training.keep`, for the prepared corpus NMT_HOME; what the run has already does not count again."""
    monkeypatch.setenv("NMT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50_000_000))
    finding = room.checkpoints(make_recipe(), NEEDS, tmp_path / "run")
    assert (finding.level, finding.remedy.split(" = ")[0]) == ("problem", "lower training.keep")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/step").write_bytes(bytes(20_000_000))
    assert room.checkpoints(make_recipe(), NEEDS, tmp_path / "run").level == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert [item.topic for item in examine(make_recipe(), tmp_path / "other", "cpu") if item.level == "problem"] == [
        "disk"
    ]


def test_the_size_of_a_prepared_corpus_is_estimated_from_its_files(tmp_path: Path) -> None:
    """Within 20 %, for subwords and for characters; compressed files count as what is in them."""
    lines = [
        f"{number} words of a line that is as long as lines are, or so {number * 7919}" for number in range(20_000)
    ]
    for name in ("train.a", "train.b"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    for name in ("valid.a", "valid.b"):
        (tmp_path / name).write_text("\n".join(lines[:100]) + "\n")
    card = 'name = "c"\ntitle = "c"\nlicence = "none"\nlanguages = ["a", "b"]\n'
    card += '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n'
    (tmp_path / "card.toml").write_text(card)
    data = {"corpus": str(tmp_path / "card.toml"), "source": "a", "target": "b"}
    for tokenizer in ({"kind": "character", "vocabulary": 100}, {"kind": "bpe", "vocabulary": 300}):
        recipe = make_recipe(data=data, tokenizer=tokenizer)
        wanted = room.prepared_bytes(recipe, parts_of(recipe))
        measured = sum(path.stat().st_size for path in prepare(recipe).folder.rglob("*") if path.is_file())
        assert wanted == pytest.approx(measured, rel=0.2 if tokenizer["kind"] == "character" else 0.35)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "multi30k-small-transformer",
        "multi30k-ende-transformer",
        "multi30k-enfr-transformer",
        "noise-multi30k",
        "tatoeba-fren",
    ],
)
def test_prepared_corpora_are_as_large_as_estimated(name: str) -> None:
    """Within 20 %, before they are made."""
    recipe = load_recipe(RECIPES / name)
    wanted = room.prepared_bytes(recipe, parts_of(recipe))
    measured = sum(path.stat().st_size for path in prepare(recipe).folder.rglob("*") if path.is_file())
    assert wanted == pytest.approx(measured, rel=0.2)


def test_a_model_too_large_for_its_text_is_told() -> None:
    """By its parameters per target token."""
    prepared = prepare(make_recipe())
    tokens = len(prepared.train.target.values)
    assert [model_size(prepared, count * tokens).level for count in (1, 100)] == ["ok", "advice"]


def test_a_vocabulary_of_rare_pieces_is_told() -> None:
    """Subwords that the text hardly holds are worth a look; words, of which most texts have many rare ones, are not."""
    recipe = make_recipe(tokenizer={"kind": "bpe", "vocabulary": 20})
    prepared = prepare(recipe)
    assert [finding.level for finding in vocabulary(recipe, prepared)] == ["ok"]
    few = SimpleNamespace(train=prepared.train.rows(0, 3), tokenizers=prepared.tokenizers)
    assert [finding.level for finding in vocabulary(recipe, few)] == ["advice"]  # type: ignore[arg-type]
    apart = make_recipe({"tie": "output"}, tokenizer={"kind": "word", "vocabulary": 60, "joint": False})
    assert [finding.figures["side"] for finding in vocabulary(apart, prepare(apart))] == ["source", "target"]


def test_dropped_pairs_are_told_with_the_key_that_decides() -> None:
    """A reason that takes more than a tenth is worth a look; one that takes nothing is not told."""
    train = {"read": 1000, "dropped": {"length ratio": 200, "empty": 1, "duplicate": 0}}
    ratio, empty = dropped({"train": train})
    assert (ratio.level, "max_ratio" in ratio.remedy, empty.level) == ("advice", True, "ok")


def test_test_sentences_in_train_are_told() -> None:
    """Above a hundredth, unless they are dropped."""
    leak = {"testset": "test", "sentences": 100, "pairs_normalised": 40}
    report: dict[str, Any] = {"found_in_train": [leak], "leaks_dropped": False}
    assert [finding.level for finding in leaks(report)] == ["advice"]
    assert "drop_leaked" in leaks(report)[0].remedy
    assert [finding.level for finding in leaks(report | {"leaks_dropped": True})] == ["ok"]
    assert [finding.level for finding in leaks(report | {"found_in_train": [leak | {"pairs_normalised": 1}]})] == ["ok"]


def _with_letters(folder: Path, change: Callable[[list[str]], list[str]]) -> Recipe:
    """A recipe on the letters, with another validation source."""
    for path in LETTERS.parent.iterdir():
        shutil.copy(path, folder / path.name)
    source = folder / "valid.input"
    source.write_text("\n".join(change(source.read_text().splitlines())) + "\n")
    return make_recipe(data={"corpus": str(folder / LETTERS.name)}, tokenizer={"kind": "character", "vocabulary": 100})


def test_unknown_tokens_of_the_validation_set_are_told(tmp_path: Path) -> None:
    """Letters that the training text does not have; the remedy is another key for words."""
    recipe = _with_letters(tmp_path, lambda lines: [f"{line} ж" for line in lines])
    (finding,) = unknown(recipe, prepare(recipe))
    assert (finding.level, finding.figures["split"]) == ("advice", "valid")
    assert "byte_fallback" in finding.remedy
    words = make_recipe(tokenizer={"kind": "word", "vocabulary": 8})
    assert "tokenizer.vocabulary" in next(finding.remedy for finding in unknown(words, prepare(words)))


def test_sentences_above_the_limit_are_told(tmp_path: Path) -> None:
    """With the longest, of train and of the validation set."""
    recipe = make_recipe(training={"max_length": 5})
    findings = list(long_sentences(recipe, prepare(recipe)))
    assert {finding.level for finding in findings} == {"advice"}
    assert [finding.figures["split"] for finding in findings] == ["train", "valid"]


def test_missing_kernels_are_told_with_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that cannot be built, and those that are switched off."""
    monkeypatch.setattr(machine, "why_missing", lambda: "there is no C compiler (cc, gcc or clang)")
    assert "install gcc" in machine.compiled_kernels().remedy
    monkeypatch.setattr(machine, "why_missing", lambda: None)
    monkeypatch.setattr(machine, "kernels", lambda: None)
    assert "NMT_KERNELS=0" in machine.compiled_kernels().text


def test_fewer_instructions_than_the_cpu_has_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """NMT_ISA makes one machine act as another, and may have been forgotten."""
    monkeypatch.setattr(machine, "instructions", lambda: SimpleNamespace(name="nothing"))
    assert (machine.processor().level, machine.processor().remedy) == ("advice", "unset NMT_ISA for full speed")


@pytest.mark.parametrize(("cores", "level"), [(1, "ok"), (4, "advice")])
def test_threads_that_do_not_fit_the_cores_are_told(cores: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one thread, by OMP_NUM_THREADS."""
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert machine.threads().level == level


def test_more_threads_than_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for each other."""
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert machine.threads().remedy.startswith("set it to 1")


@pytest.mark.parametrize(
    ("cuda", "hidden", "said"),
    [
        (None, None, "--force-reinstall torch"),
        ("12.8", "", "unset CUDA_VISIBLE_DEVICES"),
        ("12.8", None, "update the driver"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_told_with_its_remedy(
    cuda: str | None, hidden: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build for CPUs, a hidden card, or a driver that is too old, by what NVIDIA's tool lists."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB, 570.1'\n")
    tool.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    (finding,) = machine.graphics()
    assert (finding.level, "H100" in finding.text) == ("advice", True)
    assert said in finding.remedy


def test_a_driver_that_does_not_answer_counts_as_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's tool is there, but fails."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/false")
    assert [finding.level for finding in machine.graphics()] == ["ok"]
