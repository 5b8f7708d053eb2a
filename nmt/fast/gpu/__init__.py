"""What replaces plain torch on a GPU: packed batches, and functions that run by Triton kernels where they can.

Read `packing.py` first, then `packed_transformer.py`.
"""
