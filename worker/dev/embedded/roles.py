"""The database `worker` and its two roles; neither is a superuser.

`owner` changes the schema (migrations), `app` only uses it. Everything here may run again: it runs at every start, so
a first start that was cut short is completed by the next one.
"""

from collections.abc import Mapping

import psycopg
from psycopg import sql

from worker.errors import Misconfigured

DATABASE = "worker"
OWNER = "owner"
APP = "app"

_LIMITS = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")

_SCHEMA = f"""
    ALTER SCHEMA public OWNER TO {OWNER};
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO {APP};
    REVOKE CONNECT ON DATABASE {DATABASE} FROM PUBLIC;
    GRANT CONNECT ON DATABASE {DATABASE} TO {APP};
"""


def provision(port: int, superuser: str, passwords: Mapping[str, str]) -> None:
    """Bring roles, database and grants to what the module says; `passwords` by role name."""
    # Told in full, so that no PG* variable of the environment decides for us.
    url = f"postgresql://{superuser}:{passwords[superuser]}@127.0.0.1:{port}/{{}}?sslmode=disable&options="
    try:
        login = psycopg.connect(url.format("postgres"), autocommit=True)
    except psycopg.OperationalError as error:
        raise Misconfigured(
            f"PostgreSQL refuses the password kept for {superuser}: restore that file or delete the home"
        ) from error
    with login as server:
        for role in (OWNER, APP):
            known = server.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount
            # Hashed on this side, so that no statement ever carries the password itself.
            verifier = server.pgconn.encrypt_password(passwords[role].encode(), role.encode(), b"scram-sha-256")
            server.execute(
                sql.SQL("{} ROLE {} {} PASSWORD {}").format(
                    sql.SQL("ALTER" if known else "CREATE"),
                    sql.Identifier(role),
                    _LIMITS,
                    sql.Literal(verifier.decode()),
                )
            )
        if not server.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
            # CREATE DATABASE is all or nothing by itself and refuses to run in a transaction.
            server.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
            )
    with psycopg.connect(url.format(DATABASE)) as database:
        database.execute(_SCHEMA)
