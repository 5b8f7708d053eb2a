"""Faster replacements of plain torch for a given machine; each file names what it replaces, and a test compares the two.

`cpu`: models in search and training on a CPU, by the compiled code of `kernels`. `gpu`: packed rows instead of padding. Each
part of `gpu` exists in plain torch, as the definition, and as the kernel of the same name in `triton`.
"""
