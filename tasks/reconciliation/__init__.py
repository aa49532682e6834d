"""Reconciliation: every job and every call is accounted for once an hour, and a job that fails says what is not."""
