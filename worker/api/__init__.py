"""The system over HTTP: `app.py` puts it together, `readiness.py` decides about /readyz, `problems.py` words errors."""
