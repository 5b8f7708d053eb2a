"""Training: the loop, the update, and everything that an update depends on.

Read `trainer.py` first, then `updater.py`.
"""
