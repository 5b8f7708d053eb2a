"""Filters of training pairs: small functions over the columns of a shard. Read `pairs`, then `lengths`, then `filters`."""
