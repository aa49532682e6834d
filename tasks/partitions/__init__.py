"""Audit partitions: there is always a month's room ahead, so that no audit row is ever without a place."""
