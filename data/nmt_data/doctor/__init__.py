"""`nmt doctor`: findings on the machine, the recipe and the corpus. Read `finding.py`, then `examine.py`."""
