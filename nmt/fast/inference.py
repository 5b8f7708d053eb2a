"""Chooses what runs in place of a trained model in search; only this file chooses.

`for_inference` makes a frozen copy of a model in the wanted precision, with matrices laid out for the CPU.
`fastest_decoder` then returns the decoder that search steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from nmt.fast.cpu.convolution_search import convolution_by_kernels
from nmt.fast.cpu.exponential_score import ExponentialScore
from nmt.fast.cpu.linear import Int8Linear, PackedLinear, TiledLinear, packed, quantised
from nmt.fast.cpu.rnn_search import rnn_by_kernels
from nmt.fast.cpu.transformer_search import transformer_by_kernels
from nmt.fast.cpu.visual_search import visual_by_base
from nmt.fast.gpu.attending import attend_by_kernels
from nmt.fast.kernels import kernels
from nmt.fast.slots import TransformerBySlots
from nmt.models.convolution import Convolution
from nmt.models.protocol import EncoderDecoder, Seq2Seq
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.rnn.scores import AdditiveScore
from nmt.models.transformer.layers import FeedForward
from nmt.models.transformer.model import Transformer
from nmt.models.visual.model import Visual
from nmt.runtime.cpu import has_fast_bf16
from nmt.runtime.device import SearchPrecision

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def for_inference(model: AnyModule, device: torch.device, precision: SearchPrecision) -> AnyModule:
    """Returns a copy of the model on the device, for inference only.

    fp32 and bf16 are the type of all weights and states. int8 multiplies in integers. With kernels, all linear layers
    do so, with states in fp32. Without kernels only the logits and the encoder do so, and the rest is in bf16, or in fp32 where
    the CPU has no bf16.
    """
    ready = copy.deepcopy(model).eval().requires_grad_(False).to(device)
    if next(ready.parameters()).dtype == torch.float64:  # a reference in tests
        return ready
    integers = precision == "int8" and kernels() is not None
    half = precision == "bf16" or (precision == "int8" and not integers and has_fast_bf16())
    ready = ready.to(torch.bfloat16 if half else torch.float32)
    if device.type == "cuda":
        _keep_recurrences_exact(ready, model)
        attend_by_kernels(ready)
    else:
        if precision == "int8" and not integers:
            _quantise_in_part(ready)
        _replace_linear(ready, quantised if integers else packed)  # the remaining layers
    return ready


def fastest_decoder(model: Seq2Seq[Any, Any]) -> Seq2Seq[Any, Any]:
    """Returns the decoder for search: the compiled kernels of the family where they support the model, else the model."""
    match model:
        case RnnSeq2Seq():
            return rnn_by_kernels(model) or model
        case Transformer():
            return transformer_by_kernels(model) or TransformerBySlots(model)
        case Convolution():
            return convolution_by_kernels(model) or model
        case Visual():
            return visual_by_base(model, fastest_decoder(model.base))
        case _:
            return model


def output_for_inference(linear: nn.Linear, precision: SearchPrecision, device: torch.device) -> nn.Linear:
    """Returns an output layer as `for_inference` makes it, typed as `nn.Linear`."""
    linear = linear.to(device)
    if linear.weight.dtype == torch.float64:
        return linear
    if device.type == "cpu" and precision == "int8":
        return quantised(linear, torch.float32)  # type: ignore[return-value]
    half = precision == "bf16"
    linear = linear.to(torch.bfloat16 if half else torch.float32)
    return packed(linear) if device.type == "cpu" else linear  # type: ignore[return-value]


def _keep_recurrences_exact(ready: nn.Module, model: nn.Module) -> None:
    """Restores the weights of torch's GRUs and LSTMs in the model's precision; see `nmt.models.rnn.state.run`."""
    for own, trained in zip(ready.modules(), model.modules(), strict=True):
        if isinstance(own, nn.RNNBase):
            own.float().load_state_dict(trained.state_dict())


def _quantise_in_part(model: nn.Module) -> None:
    """Quantises logits and encoder. A decoder has too few rows, as it sees one position of each sentence at a time."""
    if isinstance(model, EncoderDecoder):
        model.replace_output(quantised(model.output, torch.float32))  # type: ignore[arg-type]  # it has the same call
        for part in model.encoder_parts():
            _replace_linear(part, _quantised_if_larger)


def _quantised_if_larger(linear: nn.Linear) -> nn.Module:
    """Quantises layers with more outputs than inputs, which repay the rounding of inputs; packs the others."""
    return quantised(linear) if linear.out_features > linear.in_features else packed(linear)


def _replace_linear(module: nn.Module, kind: Callable[[nn.Linear], nn.Module]) -> None:
    for name, child in module.named_children():
        if type(child) is AdditiveScore:  # with coverage the exponentials do not factor
            child = ExponentialScore(child)  # noqa: PLW2901  # its layers are replaced below
            setattr(module, name, child)
        if isinstance(child, nn.Linear):
            setattr(module, name, kind(child))
        else:
            _replace_linear(child, kind)
    if isinstance(module, FeedForward) and module.activation is F.relu:
        _fuse_relu(module)


def _fuse_relu(module: FeedForward) -> None:
    """Applies the ReLU while the product is in registers; the next layer then sees no negative value."""
    if isinstance(module.inner, PackedLinear | TiledLinear | Int8Linear):
        module.inner.activation, module.activation = "relu", nn.Identity()
    if isinstance(module.outer, Int8Linear):
        module.outer.middle = 0
