"""The small port of each process: what it did, whether it is alive and ready. For monitoring, not for users."""
