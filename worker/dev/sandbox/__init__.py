"""A provider to practise on: speaks the DCS interface over real HTTP, with fictional people, on this machine only.

`personas.py` lists who can be asked about and what happens then; `server.py` starts it. Everything is kept in
memory and bounded; two runs with the same seed and the same calls give the same answers.
"""
