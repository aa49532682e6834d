-- The rows of the minimal job. One driver, one request about it, one result at the end.
CREATE TABLE driver (
    id bigint PRIMARY KEY,
    first_name text NOT NULL,
    last_name text NOT NULL,
    date_of_birth date NOT NULL,
    license_number text NOT NULL,
    state_code text NOT NULL,
    street_1 text NOT NULL,
    city text NOT NULL,
    state text NOT NULL,
    zip_code text NOT NULL,
    verification_status text,
    verified_at timestamptz
);
CREATE TABLE request (
    driver_id bigint PRIMARY KEY REFERENCES driver,
    status text NOT NULL DEFAULT 'pending',
    runs integer NOT NULL DEFAULT 0,
    response jsonb,
    finished_at timestamptz
);
CREATE TABLE result (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    driver_id bigint NOT NULL REFERENCES driver,
    status text NOT NULL,
    confidence integer,
    transaction_id text
);
