"""Predictions made before any measurement, for one NVIDIA H100 (80 GB).

They are computed: products at 70 % of the matrix rate or bytes at 85 % of the copy rate, whichever takes longer, and at first
70 % of that speed. For the baselines they come from earlier measurements. Keys are "step: figure". A figure far from its
prediction shows that something is not understood.
"""

from __future__ import annotations

PREDICTIONS: dict[str, float] = {
    "probe: copy": 3000,
    "probe: bf16 square 8192": 790,
    "probe: bf16 base projection": 450,
    "probe: bf16 base feed-forward": 500,
    "probe: bf16 base logits": 550,
    "probe: bf16 tiny feed-forward": 150,
    "probe: eager launch": 5,
    "probe: launch in a graph": 1.3,
    "probe: dropout in a graph follows its seed": 1,
    "kernels: tests that failed": 0,
    "base: nmt bf16 speed": 830_000,
    "base: nmt bf16 share of the matrix rate": 0.32,
    "base: baseline speed": 255_000,
    "base: compiled baseline speed": 400_000,
    "base: nmt bf16 to the compiled baseline": 2.1,
    "tiny: nmt bf16 speed": 2_300_000,
    "tiny: baseline speed": 250_000,
    "tiny: compiled baseline speed": 450_000,
    "tiny: nmt bf16 to the compiled baseline": 5,
    "rnn: nmt bf16 speed": 1_200_000,
    "rnn: baseline speed": 110_000,
    "rnn: nmt bf16 to the baseline": 11,
    "profile: base nmt bf16 kernels": 560,
    "profile: base nmt bf16 busy": 0.95,
    "profile: base nmt bf16 update": 30,
    "profile: tiny nmt bf16 kernels": 310,
    "profile: tiny nmt bf16 update": 1.8,
    "profile: rnn nmt bf16 update": 3.4,
    "tiny-25k: nmt bf16 speed": 3_400_000,
    "big: nmt bf16 speed": 280_000,
    "big: nmt bf16 share of the matrix rate": 0.39,
    "big: compiled baseline speed": 170_000,
    "train: speed in steady state": 780_000,
    "beam-5: nmt bf16 speed": 500_000,
    "beam-5: text bf16 speed": 290_000,
    "beam-5: ctranslate2 float16 speed": 100_000,
    "beam-5: nmt bf16 to CTranslate2 float16": 5,
    "beam-5: nmt bf16 one sentence": 6,
    "greedy: nmt bf16 speed": 1_600_000,
    "greedy: text bf16 speed": 300_000,
    "greedy: ctranslate2 float16 speed": 350_000,
    "greedy: nmt bf16 to CTranslate2 float16": 4.5,
    "changes: fp32 lines that change with their batch": 0.002,
    "changes: bf16 lines that change with their batch": 0.05,
    "recipe: training": 40,
    "recipe: bleu": 40.5,
    "tests: tests that failed": 0,
}
