"""What replaces a model on a CPU, in search and in training.

Read `ready.py` first: what it makes of a trained model, the `*_search.py` files run by the compiled kernels.
"""
