"""What is wrong with an installation before it is wrong with a job: `worker check`.

Files named `_facts` ask Redis and PostgreSQL and change nothing; files named `_rules` decide from plain data what is
wrong and what to do about it.
"""
