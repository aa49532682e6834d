"""The history of the schema: nine revisions that make both founding designs one database, and what came after."""
