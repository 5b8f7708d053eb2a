"""What is kept on disk: checkpoints, bundles and run folders, whole or not there, never pickled.

Read `checkpoint.py` first.
"""
