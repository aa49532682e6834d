"""One place that says where ciphertext is, so that keys can be counted, checked at the start and rotated.

Views, and an index of `license` that lets its keys be found without reading it: writers of it wait for about half a
second a million rows while it is built.
"""

import sqlalchemy as sa
from alembic import op

revision = "034"
down_revision = "033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("idx_license_encryption_key", "license", [sa.text(KEY_OF.format("license_number"))])
    op.execute(ENCRYPTED_VALUES)
    op.execute(KEYS_IN_USE)


def downgrade() -> None:
    op.execute("DROP VIEW encryption_keys_in_use")
    op.execute("DROP VIEW encrypted_values")
    op.drop_index("idx_license_encryption_key", "license")


KEY_OF = "split_part({}, ':', 3)"
"""Of `enc:v1:<key id>:...`; empty where somebody wrote a value in clear."""

# A column more is a SELECT more; a test holds this against the models, which say what is encrypted.
ENCRYPTED_VALUES = f"""
    CREATE VIEW encrypted_values (table_name, column_name, row_key, path, ciphertext, key_id) AS
    SELECT v.*, {KEY_OF.format("v.ciphertext")} FROM (
      SELECT 'license'::text AS table_name, 'license_number'::text AS column_name, id::text AS row_key,
             ''::text AS path, license_number AS ciphertext
        FROM license WHERE license_number IS NOT NULL
      UNION ALL SELECT 'household_member_offer', 'license_number', id::text, '', license_number
        FROM household_member_offer WHERE license_number IS NOT NULL
      UNION ALL SELECT 'integration_configuration', 'auth_config', c.id::text, leaf.key, leaf.value ->> '$enc'
        FROM integration_configuration c, jsonb_each(c.auth_config) AS leaf WHERE leaf.value ? '$enc'
      UNION ALL SELECT 'sso_providers', 'client_secret_encrypted', id::text, '', client_secret_encrypted
        FROM sso_providers WHERE client_secret_encrypted IS NOT NULL
      UNION ALL SELECT 'user_mfa_settings', 'totp_secret_encrypted', user_id::text, '', totp_secret_encrypted
        FROM user_mfa_settings WHERE totp_secret_encrypted IS NOT NULL
      UNION ALL SELECT 'user_mfa_settings', 'sms_phone_encrypted', user_id::text, '', sms_phone_encrypted
        FROM user_mfa_settings WHERE sms_phone_encrypted IS NOT NULL
      UNION ALL SELECT 'user_mfa_settings', 'recovery_codes_encrypted', user_id::text, '', recovery_codes_encrypted
        FROM user_mfa_settings WHERE recovery_codes_encrypted IS NOT NULL
    ) AS v
"""  # noqa: S608 - constants of this file

# One value of each key, for a look at the start. The recursion jumps from key to key along the index.
KEYS_IN_USE = f"""
    CREATE VIEW encryption_keys_in_use (table_name, column_name, row_key, path, ciphertext, key_id) AS
    WITH RECURSIVE license_key (key_id) AS (
      SELECT min({KEY_OF.format("license_number")}) FROM license
      UNION ALL
      SELECT (SELECT min({KEY_OF.format("l.license_number")}) FROM license l
               WHERE {KEY_OF.format("l.license_number")} > k.key_id)
        FROM license_key k WHERE k.key_id IS NOT NULL
    )
    SELECT 'license'::text, 'license_number'::text, one.id::text, ''::text, one.license_number, k.key_id
      FROM license_key k
      CROSS JOIN LATERAL (SELECT id, license_number FROM license
                           WHERE {KEY_OF.format("license_number")} = k.key_id LIMIT 1) AS one
    UNION ALL
    (SELECT DISTINCT ON (table_name, column_name, key_id) * FROM encrypted_values WHERE table_name <> 'license'
      ORDER BY table_name, column_name, key_id)
"""  # noqa: S608 - constants of this file
