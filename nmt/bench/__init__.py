"""Speed measured as a ratio: each contender in a separate process, with interleaved rounds. `probe` times a few updates alone."""
