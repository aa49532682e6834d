"""The whole system on one machine: its processes, started in order, watched, and stopped in the opposite order.

`up.py` puts them together for `worker up`; the demo uses the same pieces for a shorter life.
"""
