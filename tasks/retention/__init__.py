"""Retention: rows leave when their time is over and nothing holds them, and a record says which ones went and why."""
