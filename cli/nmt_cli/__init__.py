"""The `nmt` command: one thin file per verb."""
