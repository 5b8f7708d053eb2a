"""Search for the most probable translations of a model.

Read `beam_search.py` first. The other files are other searches, or restrict one.
"""
