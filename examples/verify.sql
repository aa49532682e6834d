-- Ask for a verification by psql, or from any function or trigger of an application that shares the database:
--   psql "$DATABASE_URL" --set integration=DCS_HOUSEHOLD_DRIVERS --set driver=1 --file verify.sql
-- The job exists if and only if the transaction commits. No NOTIFY is needed: the dispatcher finds the row.
\set ON_ERROR_STOP on

BEGIN;

SELECT job_id, is_new
FROM enqueue_job(
    'verification.verify',
    jsonb_build_object('integration', :'integration', 'driver_id', :'driver'::bigint),
    p_priority => 2,
    p_deadline => interval '10 minutes'
);

COMMIT;
