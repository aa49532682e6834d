"""What the system does: one folder a job. `task.py` is its door; nothing here imports another job."""
