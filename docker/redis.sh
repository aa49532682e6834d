#!/bin/sh
# Starts Valkey with one user, who may do what Celery and our own scripts do with their keys, and nothing else. Nobody
# can list keys, read the configuration, watch commands or empty the database. Arguments go to the server.
set -eu
umask 077
# The server knows the password's digest only; neither stands in a list of processes.
digest=$(printf %s "$(cat "$REDIS_PASSWORD_FILE")" | sha256sum | cut -d ' ' -f 1)

connection='+ping +hello +auth +select +client|setinfo +client|setname +client|id +multi +exec +discard +watch +unwatch'
scripts='+eval +evalsha +script|load +script|exists +time'
values='+get +set +del +exists +expire +pexpire +pttl'
lists='+llen +lpush +rpush +rpop +brpop +blmpop'
sets='+sadd +srem +smembers +zadd +zrem +zcard +zcount +zrange +zrangebyscore +zrevrangebyscore +zremrangebyscore'
hashes='+hget +hmget +hset +hdel +hlen +hgetall +hincrby'
messages='+publish +subscribe +unsubscribe +psubscribe +punsubscribe'

queues='~verification ~rating ~maintenance'
celery='~_kombu.* ~unacked* ~*.celery.pidbox ~celeryev.*'
ours='~verification:* ~worker:systems'
channels='&/0.celery.pidbox &/0.celeryev &/0.celeryev/*'

users=${TMPDIR:-/tmp}/users.acl
cat > "$users" <<ACL
user default off
user worker on #$digest $queues $celery $ours $channels -@all $connection $scripts $values $lists $sets $hashes $messages
ACL
exec valkey-server --aclfile "$users" --appendonly yes --appendfsync everysec --save "" --maxmemory-policy noeviction "$@"
