"""Speed measured as a ratio, each contender in its own process, with interleaved rounds; `probe` times a few updates alone."""
