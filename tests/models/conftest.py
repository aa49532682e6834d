"""The models are held against a migrated database, with the fixtures of the migrations' own tests."""

from tests.migrations.conftest import catalogue, module_database, owner

__all__ = ["catalogue", "module_database", "owner"]
