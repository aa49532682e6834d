"""This system measured beside the systems a user would take instead: python -m benchmarks, or make bench."""
