"""Masking: personal data in what is old enough is made unreadable for good; the record of what happened stays."""
