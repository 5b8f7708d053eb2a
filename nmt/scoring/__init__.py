"""Scores of translations, and tests whether a difference is more than chance.

Read `metrics.py` first, then `significance.py`.
"""
