"""Speed, measured as a ratio: every contender in a process of its own, rounds interleaved."""
