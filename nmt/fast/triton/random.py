"""The dropout masks of `nmt.fast.gpu.dropout`, inside kernels."""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def mix(word):
    """See `nmt.fast.gpu.dropout._mix`."""
    word = (word ^ (word >> 16)) * 0x7FEB352D
    word = (word ^ (word >> 15)) * 0x846CA68B
    return word ^ (word >> 16)


@triton.jit
def keys_of(seed):
    """Returns two 32-bit keys of the int64 at a pointer."""
    whole = tl.load(seed)
    first = mix(whole.to(tl.uint32) ^ mix((whole >> 32).to(tl.uint32) + 0x9E3779B9))
    return first, mix(first + 0x85EBCA6B)


@triton.jit
def kept(first, second, places, THRESHOLD: tl.constexpr):
    """Returns which positions (uint32) are kept."""
    word = (places ^ first) * 0x7FEB352D
    return (mix(word ^ (word >> 15) ^ second) >> 8).to(tl.int32) >= THRESHOLD
