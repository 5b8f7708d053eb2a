"""Beam search that stays on a GPU; it finds what the plain loop, `nmt.decoding.beam_search`, finds.

`search.py` runs it, `beams.py` holds the hypotheses, `steps.py` says what decodes them. Every step is the same operations on
memory that stays in place, so that CUDA graphs repeat them.
"""
