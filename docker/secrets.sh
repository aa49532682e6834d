#!/bin/sh
# Makes what docker-compose.yml keeps secret, once: sh docker/secrets.sh. What is there already stays as it is, and the
# addresses are written anew from the passwords. Keep a copy of encryption_keys and blind_index_key elsewhere: without
# them, what is encrypted in the database is lost.
set -eu
directory=${1:-secrets}
umask 077
mkdir -p "$directory"
cd "$directory"

random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }
keep() { [ -s "$1" ] || printf '%s\n' "$2" > "$1"; }
say() { rm -f "$1" && printf '%s\n' "$2" > "$1"; }

for name in postgres_password owner_password app_password redis_password metrics_token grafana_password; do
  keep "$name" "$(random)"
done
keep encryption_keys "k1:$(key)"
keep blind_index_key "$(key)"
keep flower_basic_auth "worker:$(random)"
say database_url "postgresql://app:$(cat app_password)@postgres:5432/worker"
say migration_database_url "postgresql://owner:$(cat owner_password)@postgres:5432/worker"
say redis_url "redis://worker:$(cat redis_password)@redis:6379/0"

# Containers run as users of their own and are given single files; the directory keeps everybody else out.
chmod 444 ./*
chmod 700 .
