"""Beam search that stays on a GPU and returns the same as the plain loop, `nmt.decoding.beam_search`.

`search.py` runs it, `beams.py` holds the hypotheses, `steps.py` defines the decoders. Every step does the same operations
on memory that stays in place, so that CUDA graphs can repeat it.
"""
