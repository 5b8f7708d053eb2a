"""All GPU measurements, in calls of minutes, on a machine without any setup.

`python -m nmt.bench.gpu A --out FOLDER` runs the steps of `calls.py`, each in a separate process with a time limit
(`running.py`). Every figure goes to FOLDER/figures.jsonl at once, with its prediction (`ledger.py`).
"""
