"""What the end of a call says about the provider: every event says one thing."""

import pytest

from tasks.verification.classify import Status, Trouble, classify
from tasks.verification.gate import Ending, ending_of, is_about_account, remaining


@pytest.mark.parametrize("retry_after", [None, "2"])
def test_every_status_is_a_sign(retry_after: str | None) -> None:
    for code in range(100, 700):
        event = Status(code, retry_after=retry_after)
        expected = Ending.FAILED if (code >= 500 and code not in (501, 505)) or code in (408, 425) else Ending.ANSWERED
        if code == 429 or (code == 503 and retry_after):
            expected = Ending.THROTTLED
        assert ending_of(event, classify(event)) is expected, code


TROUBLES = {
    Trouble.NOT_CONNECTED: Ending.FAILED,
    Trouble.TIMED_OUT: Ending.FAILED,
    Trouble.CONNECTION_LOST: Ending.FAILED,
    Trouble.CUT_SHORT: Ending.FAILED,
    Trouble.BAD_CERTIFICATE: Ending.SILENT,
    Trouble.BAD_ADDRESS: Ending.SILENT,
    Trouble.ADDRESS_REFUSED: Ending.SILENT,
    Trouble.OVERSIZED: Ending.ANSWERED,
    Trouble.UNREADABLE: Ending.ANSWERED,
}


@pytest.mark.parametrize("trouble", Trouble)
def test_every_trouble_is_a_sign(trouble: Trouble) -> None:
    assert ending_of(trouble, classify(trouble)) is TROUBLES[trouble]


@pytest.mark.parametrize(("code", "ending"), [(401, Ending.SILENT), (500, Ending.FAILED), (429, Ending.THROTTLED)])
def test_the_login_is_part_of_the_call(code: int, ending: Ending) -> None:
    event = Status(code, endpoint="token")
    assert ending_of(event, classify(event)) is ending


@pytest.mark.parametrize(
    ("headers", "is_for_all"),
    [
        (None, True),
        ({}, True),
        ({"retry-after": "2"}, True),
        ({"ratelimit-remaining": "0"}, True),
        ({"ratelimit-remaining": "nonsense"}, True),
        ({"ratelimit-remaining": "-1"}, True),
        ({"ratelimit-remaining": "17"}, False),
    ],
)
def test_an_allowance_that_is_not_used_up_is_not_the_reason(headers: dict[str, str] | None, is_for_all: bool) -> None:
    assert is_about_account(headers) is is_for_all


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        (None, None),
        ({}, None),
        ({"ratelimit-remaining": "0"}, 0),
        ({"ratelimit-remaining": " 17 "}, 17),
        ({"x-ratelimit-remaining": "17"}, 17),
        ({"ratelimit-remaining": "3", "x-ratelimit-remaining": "17"}, 3),
        ({"ratelimit-remaining": "nonsense", "x-ratelimit-remaining": "17"}, 17),
        ({"ratelimit-remaining": "-1"}, None),
        ({"ratelimit-remaining": "٣"}, None),
        ({"ratelimit-remaining": "9" * 4000}, 9_999_999_999),
    ],
)
def test_what_remains_is_what_the_provider_says(headers: dict[str, str] | None, left: int | None) -> None:
    assert remaining(headers) == left
