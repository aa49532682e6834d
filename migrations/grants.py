"""What the application's role may do with tables that another role owns: work with rows, never rewrite the audit trail
nor the schema's revision.

Run after every upgrade, so a new table needs no thought. There are no default privileges on purpose: a partition made
at night by the owner's function gets none, and is reached through its parent, where one may only read and add.
"""

import sqlalchemy as sa
from alembic.util import CommandError

APPEND_ONLY = "audit_logs"
NEVER_CHANGED = ("provider_call",)
"""Rows are added, and removed when their time is over."""

REVISION = "alembic_version"

# What belongs to an extension is its owner's to grant, and the application needs none of it.
_RELATIONS_OF_EXTENSIONS = "SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e'"
_ROUTINES_OF_EXTENSIONS = "SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND deptype = 'e'"

TABLES = sa.text(f"""
    SELECT c.relname, EXISTS (
             SELECT FROM pg_partition_ancestors(c.oid) AS a(id) WHERE a.id = to_regclass(:append_only)
           ) OR starts_with(c.relname, :append_only || '_') AS is_append_only -- a month that was detached
      FROM pg_class c
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v')
       AND c.oid NOT IN ({_RELATIONS_OF_EXTENSIONS})
     ORDER BY c.relname
""")  # noqa: S608 - a constant of ours

SEQUENCES = sa.text(f"""
    SELECT c.oid::regclass::text FROM pg_class c
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'S'
       AND c.oid NOT IN ({_RELATIONS_OF_EXTENSIONS})
""")  # noqa: S608 - a constant of ours

ROUTINES = sa.text(f"""
    SELECT p.oid::regprocedure::text FROM pg_proc p
     WHERE p.pronamespace = current_schema()::regnamespace AND p.oid NOT IN ({_ROUTINES_OF_EXTENSIONS})
""")  # noqa: S608 - a constant of ours


def grant_application_role(connection: sa.Connection, role: str) -> None:
    """Give `role` the rights it needs in the current schema, and take away what it must not have. Safe to repeat."""
    if not connection.scalar(sa.text("SELECT count(*) FROM pg_roles WHERE rolname = :role"), {"role": role}):
        raise CommandError(f"The application's role {role!r} does not exist: create it, then upgrade again.")
    quote = connection.dialect.identifier_preparer.quote
    to, schema = quote(role), quote(connection.scalar(sa.text("SELECT current_schema()")) or "public")
    statements = [f"GRANT USAGE ON SCHEMA {schema} TO {to}"]
    for right, what, query in (("USAGE, SELECT", "SEQUENCE", SEQUENCES), ("EXECUTE", "ROUTINE", ROUTINES)):
        if names := connection.scalars(query).all():
            statements.append(f"GRANT {right} ON {what} {', '.join(names)} TO {to}")
    for name, is_append_only in connection.execute(TABLES, {"append_only": APPEND_ONLY}):
        table = f"{schema}.{quote(name)}"
        if name == REVISION:
            # Whether the schema is the one that this version of the program wants, is for the application to ask.
            statements += [f"REVOKE ALL ON {table} FROM {to}", f"GRANT SELECT ON {table} TO {to}"]
        elif is_append_only:
            statements += [
                f"REVOKE ALL ON {table} FROM {to}",
                f"GRANT SELECT, INSERT ON {table} TO {to}",
            ]
        elif name in NEVER_CHANGED:
            statements += [f"REVOKE ALL ON {table} FROM {to}", f"GRANT SELECT, INSERT, DELETE ON {table} TO {to}"]
        else:
            statements.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {to}")
    for statement in statements:
        connection.execute(sa.text(statement))
