"""What PostgreSQL says about a schema, read once and comparable: the tests' view of migrations and models."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

SHORT_TYPES = (
    ("character varying", "varchar"),
    ("timestamp with time zone", "timestamptz"),
    ("character(", "char("),
)


@dataclass(frozen=True)
class Column:
    """Type as people write it, whether NULL is allowed, the default's expression, and whether it counts by itself."""

    type: str
    nullable: bool
    default: str | None
    identity: bool


@dataclass(frozen=True)
class Catalogue:
    """Everything in the schema `public` but partitions and Alembic's own table. Names map to definitions."""

    columns: dict[tuple[str, str], Column]
    storage: dict[str, set[str]]
    constraints: dict[tuple[str, str], str]
    indexes: dict[tuple[str, str], str]
    triggers: dict[tuple[str, str], str]
    functions: dict[str, str]
    views: dict[str, str]
    types: set[str]
    sequences: set[str]

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}

    def primary_key(self, table: str) -> list[str]:
        [definition] = [d for (t, _), d in self.constraints.items() if t == table and d.startswith("PRIMARY KEY")]
        return definition.removeprefix("PRIMARY KEY (").removesuffix(")").split(", ")

    def foreign_keys(self) -> dict[tuple[str, str], str]:
        """Target `table.column` of each single-column foreign key, by table and column."""
        found = {}
        for (table, _), definition in self.constraints.items():
            if definition.startswith("FOREIGN KEY ("):
                column, rest = definition.removeprefix("FOREIGN KEY (").split(") REFERENCES ", 1)
                target, target_column = rest.split(")")[0].split("(")
                found[table, column] = f"{target}.{target_column}"
        return found


# Partitions are made by the calendar; what hangs on them follows their parent.
OURS = sql.SQL("c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND c.relname <> 'alembic_version'")

COLUMNS = sql.SQL("""
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid), a.attidentity <> ''
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE {ours} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
""").format(ours=OURS)

STORAGE = sql.SQL("""
    SELECT c.relname, c.reloptions FROM pg_class c WHERE {ours} AND c.relkind IN ('r', 'p') AND c.reloptions IS NOT NULL
""").format(ours=OURS)

# NOT NULL constraints (contype n) are rows of this table since PostgreSQL 18; they are columns' facts here.
CONSTRAINTS = sql.SQL("""
    SELECT c.relname, k.conname, pg_get_constraintdef(k.oid)
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE {ours} AND k.contype <> 'n'
""").format(ours=OURS)

INDEXES = sql.SQL("""
    SELECT c.relname, i.relname, pg_get_indexdef(x.indexrelid)
      FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid WHERE {ours}
""").format(ours=OURS)

TRIGGERS = sql.SQL("""
    SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid)
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE {ours} AND NOT t.tgisinternal
""").format(ours=OURS)

# PostgreSQL makes the constructors of a range type by itself, in its internal language.
FUNCTIONS = sql.SQL("""
    SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid)
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace = 'public'::regnamespace AND l.lanname <> 'internal'
""")
VIEWS = sql.SQL("SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'")
TYPES = sql.SQL("""
    SELECT t.typname FROM pg_range r JOIN pg_type t ON t.oid = r.rngtypid
     WHERE t.typnamespace = 'public'::regnamespace
""")
SEQUENCES = sql.SQL("SELECT c.relname FROM pg_class c WHERE {ours} AND c.relkind = 'S'").format(ours=OURS)


def read_catalogue(connection: psycopg.Connection) -> Catalogue:
    def pairs(query: sql.SQL | sql.Composed) -> dict[tuple[str, str], str]:
        return {(table, name): definition for table, name, definition in connection.execute(query)}

    def names(query: sql.SQL | sql.Composed) -> set[str]:
        return {name for (name,) in connection.execute(query)}

    columns = {}
    for table, column, type_, nullable, default, identity in connection.execute(COLUMNS):
        for long, short in SHORT_TYPES:
            type_ = type_.replace(long, short)
        columns[table, column] = Column(type_, nullable, default, identity)
    return Catalogue(
        columns=columns,
        storage={table: set(options) for table, options in connection.execute(STORAGE)},
        constraints=pairs(CONSTRAINTS),
        indexes=pairs(INDEXES),
        triggers=pairs(TRIGGERS),
        functions=dict(connection.execute(FUNCTIONS).fetchall()),
        views=dict(connection.execute(VIEWS).fetchall()),
        types=names(TYPES),
        sequences=names(SEQUENCES),
    )
