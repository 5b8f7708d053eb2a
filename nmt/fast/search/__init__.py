"""Beam search by what a machine has; it finds what the plain loop, `nmt.search`, finds. `cpu.py`: with compiled kernels.

The rest stays on a GPU: `device.py` runs it, `beams.py` holds the hypotheses, `steps.py` says what decodes them. Every step is
the same operations on memory that stays in place, so that CUDA graphs repeat them.
"""
