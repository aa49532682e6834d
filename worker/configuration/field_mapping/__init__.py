"""Rows decide which field of a provider's answer goes into which column of ours, and what is done to it on the way.

The engine knows no API: a document and a compiled set of rules give values for allow-listed columns, and notes about
what did not fit. `paths`, `patterns`, `transforms`, `validations`, `targets` and `compiled` only decide; `rulebook`
reads the rows for workers, `versions` and `nodes` change them for people, `rehearsal` tries them out.
"""
