#!/bin/sh
# Runs once, when the database's volume is empty: two roles that are no superusers. The owner changes tables
# (migrations), the application only uses rows; what it may do with which table is granted by the migrations.
set -eu
OWNER_PASSWORD=$(cat "$OWNER_PASSWORD_FILE")
APP_PASSWORD=$(cat "$APP_PASSWORD_FILE")
export OWNER_PASSWORD APP_PASSWORD
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD
\getenv database POSTGRES_DB
SET password_encryption = 'scram-sha-256';
CREATE ROLE owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
CREATE ROLE app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'app_password';
ALTER DATABASE :"database" OWNER TO owner;
REVOKE CONNECT, TEMPORARY ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO app;
ALTER SCHEMA public OWNER TO owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO app;
SQL
