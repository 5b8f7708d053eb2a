"""Tiny models of every family, batches and recipes for the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nmt.config.model import ConvolutionConfig, ModelConfig, RnnConfig, TransformerConfig, VisualConfig
from nmt.config.reading import parse_recipe
from nmt.config.recipe import Recipe
from nmt.corpus.tokenizer import EOS, PAD
from nmt.models import Model, build_model

VOCABULARY = 23
SPELLED: list[str | int] = [
    "",
    " ⁇ ",
    "",
    "",
    " a",
    " b",
    " ab",
    "a",
    "b",
    "ba",
    " ",
    ".",
    *(f" w{i}" for i in range(12, 23)),
]
"""What the tokens of a tiny vocabulary spell: some words in several ways."""
LETTERS = Path(__file__).parents[1] / "data" / "letters.toml"
MONO = [{"language": side, "files": [str(LETTERS.with_name(f"train.{side}"))]} for side in ("input", "output")]
"""Both sides of the letters as text without translations, for `data.mono`."""

FAMILIES: dict[str, ModelConfig] = {
    "bottleneck": RnnConfig(attention="none", embedding=12, hidden=10, readout="plain", tie="none"),
    "bottleneck-first": RnnConfig(
        attention="none", embedding=12, hidden=10, feed_summary="first", layers=2, cell="lstm"
    ),
    "bottleneck-state": RnnConfig(attention="none", embedding=12, hidden=10, feed_summary="state"),
    "bottleneck-max": RnnConfig(attention="none", embedding=12, hidden=10, summary="max_and_last", reverse_source=True),
    "additive": RnnConfig(embedding=12, hidden=10),
    "additive-lstm": RnnConfig(embedding=12, hidden=10, cell="lstm", layers=2, tie="all"),
    "bilinear": RnnConfig(embedding=12, hidden=10, attention="bilinear", bridge="zero"),
    "dot": RnnConfig(embedding=12, hidden=10, attention="dot", bidirectional=False, reverse_source=True),
    "scaled-dot": RnnConfig(embedding=12, hidden=10, attention="scaled_dot", bidirectional=False, layers=2),
    "location": RnnConfig(embedding=12, hidden=10, attention="location", query="current", reverse_source=True),
    "multi-head": RnnConfig(embedding=12, hidden=10, attention="multi_head", heads=2, values="projected"),
    "coverage": RnnConfig(embedding=12, hidden=10, coverage=True, cell="lstm"),
    "input-feeding": RnnConfig(
        embedding=12, hidden=10, query="current", input_feeding=True, coverage=True, cell="lstm", layers=2
    ),
    "sparsemax": RnnConfig(embedding=12, hidden=10, weighting="sparsemax", query="current"),
    "local-monotonic": RnnConfig(embedding=12, hidden=10, weighting="local_monotonic", window=2, attention="bilinear"),
    "local-predictive": RnnConfig(embedding=12, hidden=10, weighting="local_predictive", window=2, query="current"),
    "hard": RnnConfig(embedding=12, hidden=10, weighting="hard"),
    "convolution": ConvolutionConfig(embedding=12, hidden=10, encoder_layers=2, decoder_layers=2),
    "convolution-wide": ConvolutionConfig(
        embedding=12, hidden=14, encoder_layers=1, decoder_layers=1, kernel=5, tie="all", positions=6
    ),
    "transformer": TransformerConfig(width=12, feed_forward=20, heads=3, encoder_layers=2, decoder_layers=2),
    "transformer-rotary": TransformerConfig(
        width=12, feed_forward=20, heads=2, encoder_layers=1, decoder_layers=2, positions="rotary", normalization="rms"
    ),
    "transformer-alibi": TransformerConfig(
        width=12, feed_forward=20, heads=3, encoder_layers=2, decoder_layers=1, positions="alibi", scaled=False
    ),
    "transformer-learned": TransformerConfig(
        width=12, feed_forward=20, heads=2, encoder_layers=1, decoder_layers=2, positions="learned", tie="none"
    ),
    "transformer-none": TransformerConfig(
        width=12, feed_forward=20, heads=2, encoder_layers=1, decoder_layers=1, positions="none", residual=False
    ),
    "transformer-post": TransformerConfig(
        width=12, feed_forward=20, heads=2, norm="post", tie="output", activation="gelu"
    ),
}
VISUAL: dict[str, ModelConfig] = {
    "visual": VisualConfig(
        height=8,
        window=12,
        stride=8,
        base=TransformerConfig(width=12, feed_forward=20, heads=3, encoder_layers=1, decoder_layers=2, tie="output"),
    ),
    "visual-slices": VisualConfig(
        image_encoder="slices", height=8, window=8, stride=4, base=RnnConfig(embedding=12, hidden=10)
    ),
    "visual-cnn": VisualConfig(
        image_encoder="cnn",
        channel_attention="cbam",
        spatial_attention="cbam",
        height=8,
        window=12,
        stride=8,
        base=TransformerConfig(width=12, feed_forward=20, heads=2, encoder_layers=1, decoder_layers=1, tie="none"),
    ),
}


def make_model(name: str, vocabulary: int = VOCABULARY) -> Model:
    """A tiny random model in float64; weights are enlarged so that its choices are not all alike."""
    torch.manual_seed(7)
    built = build_model((FAMILIES | VISUAL)[name], vocabulary, vocabulary).double().eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(2.0).add_(torch.randn_like(parameter) * 0.1)
    return built


def make_batch(lengths: list[int], seed: int = 1, vocabulary: int = VOCABULARY) -> tuple[torch.Tensor, torch.Tensor]:
    """Random sources (B, S), each ended by EOS, and their lengths."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(4, vocabulary, (len(lengths), max(lengths)), generator=generator)
    for row, length in enumerate(lengths):
        source[row, length - 1] = EOS
        source[row, length:] = PAD
    return source, torch.tensor(lengths)


def make_recipe(model: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Recipe:
    """A recipe for reversing short strings that trains in seconds."""
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {"corpus": str(LETTERS), "source": "input", "target": "output"},
        "tokenizer": {"kind": "word", "vocabulary": 40},
        "model": {"kind": "transformer", "width": 32, "feed_forward": 64, "encoder_layers": 1, "decoder_layers": 1}
        | (model or {}),
        "training": {
            "updates": 6,
            "batch_tokens": 256,
            "validate_every": 3,
            "validation_sentences": 8,
            "log_every": 2,
            "precision": "fp32",
        },
    }
    if model and "kind" in model:
        values["model"] = model
    values["search"] = {"max_length_ratio": 1.0, "max_length_constant": 3}
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    return parse_recipe(values, "test")


@dataclass(frozen=True)
class Table:
    """A fake model: the next word depends on the source's first word, the last word and the position."""

    logits: torch.Tensor  # (sources, positions, V, V)

    def encode(self, source: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return source[:, 0]

    def start(self, memory: torch.Tensor, beam: int) -> tuple[torch.Tensor, int]:
        return memory.repeat_interleave(beam), 0

    def step(
        self, state: tuple[torch.Tensor, int], tokens: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, int]]:
        sources, position = state
        return self.logits[sources, position, tokens].clone(), (sources, position + 1)

    def reorder(self, state: tuple[torch.Tensor, int], rows: torch.Tensor, beam: int) -> tuple[torch.Tensor, int]:
        return state[0][rows], state[1]
