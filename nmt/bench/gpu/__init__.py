"""Everything that a GPU has to show, in calls of minutes, on a machine that was set up for nothing.

`python -m nmt.bench.gpu A --out FOLDER` runs the steps of `calls.py`, each in a process of its own with a time limit
(`running.py`). Every figure goes to FOLDER/figures.jsonl as it is measured, beside what was predicted (`ledger.py`).
"""
