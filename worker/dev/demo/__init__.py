"""The main job on sample data, from an empty directory to a table of outcomes, and nothing left behind.

`mixture.py` and `report.py` decide; `households.py` and `sample.py` write the rows; `run.py` is the order of it all.
"""
