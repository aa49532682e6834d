"""Tokens: whatever has passed its time is over, says so once in its log, and leaves when nothing needs it any more."""
