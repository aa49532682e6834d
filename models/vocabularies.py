"""Every closed list of words a column may hold, in one place.

Each list is a `Literal`: type checkers know the words, `typing.get_args` gives them at run time, and a CHECK of the
same words stands in the database. A new word needs a migration that replaces that CHECK.
"""

from typing import Literal

# Insurance
PolicyStatus = Literal["active", "inactive", "cancelled", "expired", "pending"]
ClaimStatus = Literal["submitted", "under_review", "approved", "denied", "withdrawn", "closed"]
ProductType = Literal["auto", "home", "renters", "life"]
QuoteStatus = Literal["draft", "calculating", "quoted", "expired", "bound", "declined"]

# Rating
RuleAmountType = Literal["percentage", "fixed"]
RuleScope = Literal["coverage", "policy"]  # of what premium a discount or surcharge is taken
RatingFieldType = Literal["text", "number", "boolean", "date"]
RatingRestriction = Literal["prohibited", "new_business_only", "no_renewal_increase", "capped"]

# People and access
UserRole = Literal["agent", "underwriter", "admin", "system"]
SsoProviderType = Literal["google", "azure", "okta", "auth0", "saml", "oidc"]
MfaMethod = Literal["totp", "webauthn", "sms", "recovery_codes"]

# OAuth2. RFC 9700 forbids the password grant and advises against the implicit one: neither is in the list.
GrantType = Literal["authorization_code", "client_credentials", "refresh_token"]
TokenType = Literal["access_token", "refresh_token", "authorization_code"]
TokenAction = Literal["issued", "refreshed", "revoked", "expired", "used", "introspected"]
CodeChallengeMethod = Literal["S256", "plain"]

# Reference
StatusCode = Literal["ACTIVE", "INACTIVE", "DELETED"]

# Integrations. Scopes are listed from the widest to the nearest; the nearest one that matches wins.
AuthType = Literal["api_key", "oauth2", "basic", "bearer"]
Scope = Literal["system", "program", "producer"]
Environment = Literal["sandbox", "production"]
NodeDataType = Literal["string", "integer", "decimal", "boolean", "date", "datetime", "array", "object"]
ProviderApi = Literal["drivers", "criminal", "vehicles"]
PermissionType = Literal["user", "role", "group"]

# Verification
HttpRequestStatus = Literal["pending", "sent", "completed", "failed", "timeout"]
VerificationType = Literal["license", "address", "identity", "vehicle", "household", "criminal"]
TargetEntityType = Literal["driver", "vehicle", "address"]
CallReason = Literal["first", "retry", "after_crash", "poll"]
VerificationStatus = Literal["verified", "partial", "failed", "not_found", "error"]
DriverVerificationStatus = Literal["not_verified", "verified", "partial", "failed"]
LicenseVerificationStatus = Literal["not_verified", "verified", "invalid", "expired", "suspended"]
VehicleVerificationStatus = Literal["not_verified", "verified", "partial", "failed"]
VehicleSearch = Literal["vin", "plate", "address"]
OfferDecision = Literal["open", "accepted", "declined"]
DeliveryPointValidation = Literal["valid", "invalid", "unknown"]

# Privacy and retention
DataClass = Literal[
    "name",  # of a person: first, last, former, owner, lienholder
    "birth_date",
    "government_id",  # social security number and its like
    "license",  # driver's licence number, also its blind index
    "street",  # the part of an address that finds a door
    "region",  # city, state, ZIP
    "contact",  # telephone, e-mail
    "vehicle_id",  # VIN, plate, title number
    "criminal",  # records of offences
    "physical",  # race, gender, height, weight
    "network",  # internet address, browser
    "credential",  # passwords, tokens and keys, also hashed or encrypted
    "document",  # JSON that may hold any of the above
    "free_text",  # written by people or by others' programs
]
MaskingMatch = Literal["path", "glob", "key", "value"]  # the earlier, the more specific
MaskingOperator = Literal["remove", "redact", "partial", "hmac", "date_year", "bucket", "truncate_ip", "keep"]
RetentionAction = Literal["delete", "partition"]
RetentionRunState = Literal["running", "finished", "stopped", "failed"]
HoldScope = Literal[
    "customer",
    "policy",
    "claim",
    "quote",
    "driver",
    "vehicle",
    "address",
    "user",
    "integration_request",
    "audit_month",  # scope_id is YYYY_MM
]

# The ledger
JobState = Literal["ready", "running", "done", "failed", "cancelled", "expired"]
JobEventName = Literal[
    "retried",
    "snoozed",
    "crashed",
    "failed",
    "cancelled",
    "expired",
    # By operators; the row says by whom.
    "cancel_requested",
    "retried_by_hand",
]
OnFailure = Literal[
    "continue",  # the next step of a batch begins however the jobs of this one ended
    "stop",  # it begins only if all of them are done; else what is left of the batch is cancelled
]
