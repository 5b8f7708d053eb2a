"""Models that read pictures of text (Salesky et al. 2021), and attention over channels and places.

Read `model.py` first, then `image.py` and `gates.py`.
"""
