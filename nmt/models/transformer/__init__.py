"""The Transformer (Vaswani et al. 2017).

Read `model.py` first, then `attention.py`.
"""
