"""The work of a bootstrap, whose plan is read by `nmt.experiments.bootstrap`.

Read `site.py` first, where the files of a plan are, then `work.py`. `origin.py` says what a stage is made from, `progress.py`
how far it has come, `survey.py` what all stages cost, and `checks.py` looks for mistakes before any work.
"""
