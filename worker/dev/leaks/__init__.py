"""Looks for personal data where none may be: sends invented people through the system and searches for them outside."""
