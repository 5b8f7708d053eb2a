"""Replacements of models on a CPU, in search and in training.

The `*_search.py` files run a step of search by compiled kernels, the `*_training.py` files an update.
"""
