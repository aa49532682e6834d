"""Maintenance beside the least that its work can cost, beside verifications, and a whole night of it."""
