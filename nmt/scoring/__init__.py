"""How good translations are, and whether a difference is more than chance.

Read `metrics.py` first, then `significance.py`.
"""
