"""Recurrent encoder-decoders: one fixed vector (Sutskever et al. 2014), then attention (Bahdanau et al. 2015).

Read `model.py` first. `scores.py` and `weighting.py` hold the parts of attention.
"""
