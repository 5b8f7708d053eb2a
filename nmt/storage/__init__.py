"""Files on disk: checkpoints, bundles and run folders; each is complete or absent, and never pickled.

Read `checkpoint.py` first.
"""
