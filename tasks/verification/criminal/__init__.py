"""Criminal records 1.0, which match by name and birth date only and are never taken for a decision."""
