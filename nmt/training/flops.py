"""Floating-point operations: of a batch, and the rate of the machine."""

from __future__ import annotations

from functools import cache
from time import perf_counter, process_time
from typing import assert_never

import torch
from torch import Tensor

from nmt.config.model import ConvolutionConfig, ModelConfig, RnnConfig, TransformerConfig, VisualConfig
from nmt.models.rnn.scores import LocationScore
from nmt.models.visual.image import CNN_CHANNELS, VISREP_CHANNELS
from nmt.runtime.device import onednn_products
from nmt.training.arithmetic import Arithmetic
from nmt.training.batches import Batch, Sizes

_MEASURING = 0.2  # seconds for the rate of the machine


def training_flops(config: ModelConfig, vocabulary: int, batch: Batch | Sizes) -> float:
    """Counts the operations of the matrix products of an update; the backward pass takes twice those of the forward pass.

    Padding is not counted; a multiplication and an addition count as two; `vocabulary` is the target's.
    """
    return 3 * 2 * _products(config, vocabulary, batch)


def _products(config: ModelConfig, vocabulary: int, batch: Batch | Sizes) -> float:
    match config:
        case RnnConfig():
            return _rnn_products(config, vocabulary, batch)
        case TransformerConfig():
            return _transformer_products(config, vocabulary, batch)
        case ConvolutionConfig():
            return _convolution_products(config, vocabulary, batch)
        case VisualConfig():
            return _visual_products(config, vocabulary, batch)
        case _:
            assert_never(config)


@cache
def matrix_rate(arithmetic: Arithmetic, device: torch.device) -> float:
    """Measures the operations per second of a large square product on this device, with torch's current threads.

    On a CPU only the time of this process counts, as others may use it too.
    """
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if arithmetic.precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    clock, threads = (perf_counter, 1) if device.type == "cuda" else (process_time, torch.get_num_threads())
    times: list[float] = []
    with onednn_products(arithmetic.onednn):
        while len(times) < 2 or (len(times) < 8 and sum(times) < _MEASURING):
            start = clock()
            torch.mm(left, right)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(clock() - start)
    best = max(min(times), 1e-9)
    return 2 * size**3 * threads / best


def _rnn_products(config: RnnConfig, vocabulary: int, batch: Batch | Sizes) -> float:
    sources, targets = float(batch.lengths.sum()), float(batch.tokens)
    gates = {"gru": 3, "lstm": 4}[config.cell] * config.hidden
    ways = 2 if config.bidirectional else 1
    width = ways * config.hidden
    attends = config.attends
    context = width if attends else config.hidden * (config.feed_summary == "every")
    later = attends and config.query == "current"  # the context is computed after the recurrence
    inputs = config.embedding + config.hidden + (config.hidden * config.input_feeding if later else context)
    encoder = ways * gates * (config.embedding + config.hidden + (config.layers - 1) * (width + config.hidden))
    decoder = gates * (inputs + (config.layers - 1) * 2 * config.hidden)
    readout = config.embedding * (2 if config.readout == "maxout" else 1)
    decoder += readout * (config.hidden + config.embedding) + config.embedding * vocabulary
    if not attends:  # the readout maps the fixed vector once
        mapped = readout * config.hidden * (config.feed_summary != "state")
        return sources * encoder + targets * decoder + len(batch.lengths) * mapped
    decoder += readout * width
    looks, compared = float((batch.lengths * batch.target_lengths).sum()), config.hidden
    match config.attention:
        case "additive" | "multi_head":
            encoder += width * config.hidden  # keys
            decoder += config.hidden * config.hidden  # queries
        case "bilinear":
            encoder += width * config.hidden  # keys
        case "location":
            decoder += config.hidden * LocationScore.positions
            compared = 0
        case "none" | "dot" | "scaled_dot":
            pass
        case _:
            assert_never(config.attention)
    if config.values == "projected":
        encoder += width * width
    if config.input_feeding:
        decoder += (width + config.hidden) * config.hidden
    return sources * encoder + targets * decoder + looks * (compared + width)


def _transformer_products(config: TransformerConfig, vocabulary: int, batch: Batch | Sizes) -> float:
    width, inner = config.width, 2 * config.width * config.feed_forward
    lengths, outputs = batch.lengths.double(), batch.target_lengths.double()
    source = config.encoder_layers * (4 * width**2 + inner) + config.decoder_layers * 2 * width**2
    target = config.decoder_layers * (6 * width**2 + inner) + width * vocabulary
    looks = float(config.encoder_layers * lengths.square().sum())
    looks += float(config.decoder_layers * (outputs.square().sum() + (outputs * lengths).sum()))
    return float(lengths.sum()) * source + float(outputs.sum()) * target + 2 * width * looks


def _convolution_products(config: ConvolutionConfig, vocabulary: int, batch: Batch | Sizes) -> float:
    bridges = 2 * config.embedding * config.hidden
    layer = 2 * config.kernel * config.hidden**2
    source = bridges + config.encoder_layers * layer
    target = bridges + config.decoder_layers * (layer + bridges) + config.embedding * vocabulary
    looks = float((batch.lengths * batch.target_lengths).sum())
    looks *= 2 * config.embedding * config.decoder_layers
    return float(batch.lengths.sum()) * source + float(batch.tokens) * target + looks


def slice_counts(config: VisualConfig, lengths: Tensor) -> Tensor:
    """Estimates the slices of lines (B,) from their bytes: one of Latin text is some 0.4 of its height wide."""
    return (lengths * (0.4 * config.height / config.stride)).ceil()


def _visual_products(config: VisualConfig, vocabulary: int, batch: Batch | Sizes) -> float:
    slices = slice_counts(config, batch.lengths)
    base = _products(config.base, vocabulary, Sizes(slices, batch.target_lengths))
    width = config.source_width
    pixels, new = config.height * config.window, config.height * config.stride  # of a slice; those that are new in it
    first, second, third = CNN_CHANNELS
    match config.image_encoder:
        case "slices":
            image = pixels * width
        case "visrep":
            image = VISREP_CHANNELS * pixels * (9 + width)
        case "cnn":
            image = 9 * new * (first + first * second // 4 + second * third // 16) + third * pixels // 16 * width
        case _:
            assert_never(config.image_encoder)
    return base + float(slices.sum()) * image
