"""The system over HTTP. `app.py` puts it together.

clients.py  tokens.py  oauth.py   who may ask: applications, their access tokens, and how they get one
auth.py  limits.py                what every request passes: its token, its client's share of requests
verifications.py  batch.py        the routes of verifications; `asking.py` is the step from a request to its row,
                                  `admissions.py` takes it for many requests together, `hinting.py` tells the
                                  workers once it is committed
jobs.py                           those of jobs; `waiting.py` is what a long poll waits on, `paging.py` where a
                                  list goes on
envelope.py  problems.py          around all of them: correlation ids, sizes of bodies, the form of errors
openapi.py                        their description
readiness.py                      the decision about /readyz
"""
