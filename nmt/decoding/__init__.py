"""Search: from a model to its most probable translations.

Read `beam_search.py` first; the other files are other searches, or what narrows one.
"""
