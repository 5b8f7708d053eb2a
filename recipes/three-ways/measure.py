"""Three ways to read a sequence, recurrent, convolutional and attentional: speed and memory against length.

    python recipes/three-ways/measure.py OUTPUT        (one thread: OMP_NUM_THREADS=1; three minutes)

Models of about as many parameters, random weights, sentences of one length on both sides, 2,048 target tokens a batch. Memory
is what the forward pass keeps for the backward pass. Rounds are interleaved; figures are medians.
"""

from __future__ import annotations

import csv
import json
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

import torch
from matplotlib.figure import Figure

from nmt.config.model import ConvolutionConfig, ModelConfig, RnnConfig, TransformerConfig
from nmt.config.recipe import TrainingConfig
from nmt.config.search import SearchConfig
from nmt.decoding.beam_search import beam_search
from nmt.fast.inference import for_inference
from nmt.models import Model, build_model
from nmt.runtime.device import describe
from nmt.training.arithmetic import choose_arithmetic
from nmt.training.batches import Batch
from nmt.training.updater import Updater

VOCABULARY, TOKENS, ROUNDS = 4000, 2048, 3
LENGTHS = (8, 16, 32, 64, 128, 256)
CPU = torch.device("cpu")
MODELS: dict[str, ModelConfig] = {
    "recurrent (additive attention)": RnnConfig(embedding=128, hidden=256, tie="all"),
    "convolutional (ConvS2S)": ConvolutionConfig(
        embedding=128, hidden=200, encoder_layers=3, decoder_layers=3, kernel=3, positions=512, tie="all"
    ),
    "attentional (Transformer)": TransformerConfig(
        width=128, feed_forward=512, encoder_layers=4, decoder_layers=4, tie="all"
    ),
}


def batch(length: int) -> Batch:
    """Sentences of one length, of random tokens."""
    generator = torch.Generator().manual_seed(length)
    rows = max(1, TOKENS // length)
    source, target, shifted = (torch.randint(4, VOCABULARY, (rows, length), generator=generator) for _ in range(3))
    return Batch.of(source, torch.full((rows,), length), shifted, target)


def training_speed(updater: Updater, length: int) -> float:
    """Target tokens per CPU second."""
    item = batch(length)
    start = process_time()
    for number in range(3):
        updater.update(number + 1, [item], 1e-4)
    return 3 * item.tokens / (process_time() - start)


def decoding_speed(model: Model, length: int) -> float:
    """Target tokens per CPU second: greedy, 16 sentences, as many words as the source."""
    source = batch(length).source[:16]
    source = source.repeat(-(-16 // len(source)), 1)[:16]
    config = SearchConfig(beam=1, max_length_ratio=1.0, max_length_constant=0, min_length=length - 1)
    start = process_time()
    with torch.inference_mode():
        beam_search(model, source, torch.full((16,), length), config)
    return 16 * length / (process_time() - start)


def kept_bytes(model: Model, length: int) -> int:
    """What autograd keeps of a forward pass, per target token; weights do not count."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor.untyped_storage().nbytes()
        return tensor

    item = batch(length)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = model(item.source, item.lengths, item.target_input)
    del states
    return sum(kept.values()) // item.tokens


def median(measure: Callable[[str, int], float]) -> dict[str, dict[int, float]]:
    """Of some rounds over all models and lengths, the first of which only warms up."""
    found: dict[str, dict[int, list[float]]] = {name: {length: [] for length in LENGTHS} for name in MODELS}
    for round_number in range(ROUNDS + 1):
        for length in LENGTHS:
            for name in MODELS:
                value = measure(name, length)
                if round_number:
                    found[name][length].append(value)
    return {name: {length: statistics.median(values) for length, values in by.items()} for name, by in found.items()}


def plot(path: Path, figures: dict[str, dict[str, dict[int, float]]]) -> None:
    """A panel for each figure, a line for each model."""
    figure = Figure(figsize=(12.5, 3.7), layout="constrained")
    for axes, (title, by_model) in zip(figure.subplots(1, len(figures)), figures.items(), strict=True):
        for (name, values), colour in zip(by_model.items(), ("#0072b2", "#d55e00", "#009e73"), strict=True):
            axes.plot(list(values), list(values.values()), marker="o", markersize=4, color=colour, label=name)
        axes.set_title(title, fontsize=11)
        axes.set(xlabel="length of source and target (tokens)", xscale="log", ylim=(0, None))
        axes.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """Measures, writes results.json, results.csv and figure.png."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    models = {name: build_model(config, VOCABULARY, VOCABULARY).train() for name, config in MODELS.items()}
    arithmetic = choose_arithmetic("auto", CPU)
    updaters = {name: Updater(model, TrainingConfig(), CPU, arithmetic) for name, model in models.items()}
    ready = {name: for_inference(model, CPU, "fp32") for name, model in models.items()}
    figures: dict[str, dict[str, dict[int, float]]] = {
        "training: tokens per CPU second": median(lambda name, length: training_speed(updaters[name], length)),
        "greedy search: tokens per CPU second": median(lambda name, length: decoding_speed(ready[name], length)),
        "kept for the backward pass: kB a token": {
            name: {length: kept_bytes(model, length) / 1000 for length in LENGTHS} for name, model in models.items()
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "device": describe(CPU),
        "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
        "training_precision": arithmetic.precision,
        "decoding_precision": "fp32",
        "parameters": {name: model.parameter_count for name, model in models.items()},
        "figures": figures,
    }
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["figure", "model", *LENGTHS])
        for title, by_model in figures.items():
            for name, values in by_model.items():
                table.writerow([title, name, *(round(value, 1) for value in values.values())])
    plot(folder / "figure.png", figures)
    print((folder / "results.csv").read_text("utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
