"""Runs the specification of Leasehold's clients against one of them. See ../README.md."""
