"""Answers of models that do not exist, full of text that a page must not take for markup."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nmt.serving.tasks import Group, Look, ServedModel, Task, Wrong

MARKUP = "<script>alert(1)</script>"
WORDS = [
    MARKUP,
    "<img",
    "src=x",
    "onerror=alert(2)>",
    "שלום",
    "e\u0301e\u0301",
    "👩\u200d👩\u200d👧",
    "&amp;",
    "control\x08sign",
    "end.",
]
TEXT = " ".join(WORDS)
MODELS = [
    ServedModel("look-back", "de", "en", ["en"], "rnn", 1, 1, 10, True, False, 4, [("de", "en")]),
    ServedModel(
        "many-heads", "de", "en", ["en", "he"], "transformer", 2, 3, 10, True, False, 4, [("de", "en"), ("de", "he")]
    ),
    ServedModel("one-vector", "de", "en", ["en"], "rnn", 0, 0, 10, False, False, 4, [("de", "en")]),
]
"""An RNN with attention, a Transformer into two languages, an RNN without attention."""


def answer(task: Task) -> list[Any]:
    """Does the work of a worker; lines that say "wrong", "slow" or "markup" are refused, waited with, or full of markup."""
    if isinstance(task.what, Look):
        return [_VIEWS[task.what.view](task.what.body)]
    assert isinstance(task.what, Group)
    return [_translated(line.text, line.prefix, task.what) for line in task.lines]


def _translated(text: str, prefix: str, group: Group) -> list[dict[str, Any]] | Wrong:
    if "wrong" in text:
        return Wrong(400, f"this line is {MARKUP}")
    time.sleep("slow" in text)
    source = text.split()
    target = WORDS if "markup" in text else [word.upper() for word in source]
    said = prefix or " ".join(target)
    links = [[place, place] for place in range(min(len(source), len(target)))] if group.links else None
    words = (source, said.split()) if group.links else (None, None)
    one = {"text": said, "score": -0.5, "log_probability": -2.0, "tokens": 5}
    return [one | {"alignment": links, "source_words": words[0], "target_words": words[1]}]


def _attention(body: dict[str, Any]) -> dict[str, Any]:
    layers, heads = (2, 3) if body["model"] == "many-heads" else (1, 1)
    source, target = [*WORDS, "</s>"], [*(body.get("target") or TEXT).split(), "</s>"]
    row = [round(2.0 ** -(place + 1), 4) for place in range(len(source))]
    weights = [[[row[-j:] + row[:-j] for j in range(len(target))] for _ in range(heads)] for _ in range(layers)]
    entropy = [[1.5] * heads for _ in range(layers)]
    by_word = [[[1.5] * len(target) for _ in range(heads)] for _ in range(layers)]
    shape = {"layers": layers, "heads": heads, "best_layer": layers - 1}
    picture = {"png": _PIXEL, "width": 40, "height": 12, "columns": [[0.025] * 40 for _ in target], "places": None}
    drawn = {"picture": picture} if "picture" in body["text"] else {}
    shown = {"source": source, "target": target, "weights": weights, "entropy": entropy, "entropy_of_word": by_word}
    return shown | shape | drawn


_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)


def _beam(body: dict[str, Any]) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = [
        {"id": 0, "parent": None, "step": 0, "piece": "<s>", "log_probability": 0.0, "score": 0.0, "state": "kept"}
    ]
    states = ("kept", "finished", "pruned")
    for step, word in enumerate(WORDS, 1):
        for rank, state in enumerate(states):
            score, piece = -0.1 * step - rank, f"▁{word}" if rank != 1 else "</s>"
            nodes.append(
                {"id": len(nodes), "parent": max(0, 3 * step - 5), "step": step, "piece": piece, "state": state}
                | {"score": score, "log_probability": score}
            )
    best = [0, *range(1, len(nodes), 3)]
    return {"nodes": nodes, "best": best, "translations": [{"text": TEXT, "score": -0.5}], "beam": body.get("beam", 3)}


def _alternatives(body: dict[str, Any]) -> dict[str, Any]:
    before = body["prefix"].strip()
    following = [
        {"word": word, "probability": 0.5 / (rank + 1), "continues": False, "prefix": f"{before} {word}".strip()}
        | {"completion": f"{before} {word} and more".strip()}
        for rank, word in enumerate(WORDS[:3])
    ]
    return {"prefix": before, "next": following}


def _surprise(body: dict[str, Any]) -> dict[str, Any]:
    words = [*body["target"].split(), "</s>"]
    instead = [{"piece": word, "probability": 0.1} for word in WORDS[:5]]
    pieces = [
        {
            "piece": word,
            "word": place,
            "bits": 2.0 * place,
            "probability": 4.0**-place,
            "rank": 1 + place,
            "instead": instead,
        }
        for place, word in enumerate(words)
    ]
    listed = [{"word": item["piece"], "bits": item["bits"]} for item in pieces]
    return {"pieces": pieces, "words": listed, "bits": 42.0, "bits_per_word": 6.0}


def _scores(body: dict[str, Any]) -> dict[str, Any]:
    count = len(WORDS) + 1
    shown = {"energies": [float(place) for place in range(count)], "weights": [1 / count] * count}
    forms = [
        {"model": body["models"][0], "name": name, "formula": f"e_ij = {MARKUP}", "trained": name == "additive"} | shown
        for name in ("additive", "dot")
    ]
    return {"step_word": WORDS[body["step"] % len(WORDS)], "source": [*WORDS, "</s>"], "forms": forms}


def _growth(body: dict[str, Any]) -> dict[str, Any]:
    words = body["text"].split()
    steps = [
        {
            "length": length,
            "models": {
                name: {"text": TEXT, "log_probability_per_token": -1.0, "bits_per_token": math.sqrt(length)}
                for name in body["models"]
            },
        }
        for length in range(1, len(words) + 1)
    ]
    return {"words": words, "steps": steps}


_VIEWS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "attention": _attention,
    "beam": _beam,
    "alternatives": _alternatives,
    "surprise": _surprise,
    "scores": _scores,
    "growth": _growth,
}
VIEWS = list(_VIEWS)


def make_run(folder: Path, name: str, steps: int = 5) -> Path:
    """Writes the log of a training that was stopped, with samples of its validations, and returns its folder."""
    run = folder / name
    run.mkdir(parents=True)
    start = {"kind": "start", "step": 0, "seconds": 0.0, "updates": 1000, "budget": None, "padding": 0.3}
    log_entries(run, [start, *(trained(10 * step) for step in range(1, steps + 1))])
    for step in range(20, 10 * steps + 1, 10):
        validate(run, step)
    return run


def validate(run: Path, step: int) -> None:
    """Adds a validation to the log of a run, and to its samples two sentences, the first with attention."""
    log_entries(run, [{"kind": "validation", "step": step, "loss": 1.0, "perplexity": 2.7, "bleu": 30.0}])
    source, target = [*WORDS, "</s>"], [f"said-{step}", "</s>"]
    seen = {"source": source, "target": target, "weights": [[round(1 / len(source), 3)] * len(source)] * len(target)}
    told = {"reference": TEXT, "translation": f"{TEXT} said-{step}"}
    sentences = [{"source": TEXT, "attention": seen} | told, {"source": f"{TEXT} again", "attention": None} | told]
    with (run / "samples.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"kind": "samples", "step": step, "sentences": sentences}) + "\n")


def log_entries(run: Path, entries: list[dict[str, Any]]) -> None:
    """Adds entries to the log of a run."""
    with (run / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(entry) + "\n" for entry in entries)


def trained(step: int) -> dict[str, Any]:
    """Returns what a training logs after an update."""
    figures = {"loss": 100 / (step + 10), "learning_rate": 1e-3, "gradient_norm": 1.0, "tokens_per_second": 900.0}
    return {"kind": "train", "step": step, "updates": 1000, "seconds": step / 10} | figures
