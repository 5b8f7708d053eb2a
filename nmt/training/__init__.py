"""Training: one loop, one update, and all that an update depends on.

Read `trainer.py` first, then `updater.py`.
"""
