"""What PostgreSQL says about a schema, read once and comparable: the tests' view of migrations and models."""

from dataclasses import dataclass, field

import psycopg

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


@dataclass
class Catalogue:
    """Everything in the schema `public` but partitions and Alembic's own table. Names map to definitions."""

    columns: dict[tuple[str, str], Column] = field(default_factory=dict)
    constraints: dict[tuple[str, str], str] = field(default_factory=dict)
    indexes: dict[tuple[str, str], str] = field(default_factory=dict)
    triggers: dict[tuple[str, str], str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    types: set[str] = field(default_factory=set)
    sequences: set[str] = field(default_factory=set)

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
OURS = """c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND c.relname <> 'alembic_version'"""


def read_catalogue(connection: psycopg.Connection) -> Catalogue:
    catalogue = Catalogue()
    for table, column, type_, nullable, default, identity in connection.execute(f"""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
               pg_get_expr(d.adbin, d.adrelid), a.attidentity <> ''
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE {OURS} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"""):
        for long, short in SHORT_TYPES:
            type_ = type_.replace(long, short)
        catalogue.columns[table, column] = Column(type_, nullable, default, identity)
    # NOT NULL constraints (contype n) are rows of this table since PostgreSQL 18; they are columns' facts here.
    catalogue.constraints = _pairs(
        connection,
        f"""SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k
              JOIN pg_class c ON c.oid = k.conrelid WHERE {OURS} AND k.contype <> 'n'""",
    )
    catalogue.indexes = _pairs(
        connection,
        f"""SELECT c.relname, i.relname, pg_get_indexdef(x.indexrelid) FROM pg_index x
              JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid WHERE {OURS}""",
    )
    catalogue.triggers = _pairs(
        connection,
        f"""SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t
              JOIN pg_class c ON c.oid = t.tgrelid WHERE {OURS} AND NOT t.tgisinternal""",
    )
    catalogue.functions = dict(
        connection.execute("""
            SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid) FROM pg_proc p
             WHERE p.pronamespace = 'public'::regnamespace AND p.prolang <> (
                   SELECT oid FROM pg_language WHERE lanname = 'internal')""").fetchall()
    )
    catalogue.views = dict(
        connection.execute("SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'").fetchall()
    )
    catalogue.types = _names(connection, "SELECT rngtypid::regtype::text FROM pg_range WHERE rngtypid >= 16384")
    catalogue.sequences = _names(connection, f"SELECT c.relname FROM pg_class c WHERE {OURS} AND c.relkind = 'S'")
    return catalogue


def _pairs(connection: psycopg.Connection, query: str) -> dict[tuple[str, str], str]:
    return {(table, name): definition for table, name, definition in connection.execute(query)}


def _names(connection: psycopg.Connection, query: str) -> set[str]:
    return {name for (name,) in connection.execute(query)}
