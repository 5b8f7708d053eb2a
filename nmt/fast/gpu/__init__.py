"""Replacements of plain torch on a GPU: packed batches, and functions with Triton kernels where those are usable.

Read `packing.py` first, then `packed_transformer.py`.
"""
