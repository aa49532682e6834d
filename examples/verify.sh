#!/bin/sh
# Ask for a verification over HTTP and wait for its end.
#   API=http://127.0.0.1:8000 CLIENT_ID=... CLIENT_SECRET=... ./verify.sh INTEGRATION DRIVER
set -eu

integration=$1
driver=$2

member() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; } # of flat JSON; use jq where it is at hand
ask() { curl --silent --show-error --fail-with-body "$@"; }

# The secret goes by standard input: arguments can be seen by everybody on this machine.
answer=$(printf 'user = "%s:%s"\n' "$CLIENT_ID" "$CLIENT_SECRET" |
  ask --config - --data grant_type=client_credentials "$API/oauth2/token")
token=$(echo "$answer" | member access_token)
authorized() { printf 'header = "Authorization: Bearer %s"\n' "$token" | ask --config - "$@"; }

# The key makes the request safe to repeat: --retry asks again where no answer came, and there is still one job.
answer=$(authorized --retry 3 --json "{\"integration\": \"$integration\", \"driver_id\": $driver}" \
  --header "Idempotency-Key: example-$integration-$driver-$(date +%s)-$$" "$API/v1/verifications")
job=$(echo "$answer" | member job_id)
echo "job $job"

state=ready
while [ "$state" = ready ] || [ "$state" = running ]; do
  answer=$(authorized "$API/v1/jobs/$job?wait=30")
  state=$(echo "$answer" | member state)
done
echo "state $state"
