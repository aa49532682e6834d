"""Field encryption: what goes in comes out at its own place only, and nothing that is said repeats a key or a value."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.crypto import Keyring, Place, Undecipherable, new_key
from worker.errors import Misconfigured

PLACE = Place("users", "email", "42", "contact")
OLD, NEW, BLIND = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
KEYRING = Keyring.parse(f"old:{OLD}", BLIND)
SECRET = "a person's own words"
NAMES = st.text(st.characters(categories=["L", "N"], include_characters="_.- "), max_size=12)
PLACES = st.builds(Place, NAMES, NAMES, NAMES, NAMES)


def refusal(keyring: Keyring, ciphertext: str, place: Place = PLACE) -> str:
    with pytest.raises(Undecipherable) as refused:
        keyring.decrypt(ciphertext, place)
    assert refused.value.__context__ is None or refused.value.__suppress_context__, "what was caught may hold values"
    return str(refused.value)


@given(plaintext=st.text(), place=PLACES)
def test_any_text_comes_back_at_its_own_place(plaintext: str, place: Place) -> None:
    assert KEYRING.decrypt(KEYRING.encrypt(plaintext, place), place) == plaintext


@given(place=PLACES, other=PLACES)
def test_a_ciphertext_is_worth_nothing_at_another_place(place: Place, other: Place) -> None:
    if place != other:
        refusal(KEYRING, KEYRING.encrypt(SECRET, place), other)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, table="driver"),
        replace(PLACE, column="phone"),
        replace(PLACE, row="43"),
        replace(PLACE, path=""),
        replace(PLACE, path="contact.work"),
        replace(PLACE, row="contact", path="42"),
    ],
    ids=str,
)
def test_each_part_of_the_place_counts(other: Place) -> None:
    said = refusal(KEYRING, KEYRING.encrypt(SECRET, PLACE), other)
    assert said == f"{other} is damaged, or was written for another place or key"


def test_a_separator_in_a_row_key_moved_a_ciphertext_into_a_path() -> None:
    here, there = Place("users", "email", "1|x"), Place("users", "email", "1", "x|")
    refusal(KEYRING, KEYRING.encrypt(SECRET, here), there)


@given(place=st.builds(Place, st.text(), st.text(), st.text(), st.text()))
def test_what_a_ciphertext_is_bound_to_is_the_document_that_earlier_releases_wrote(place: Place) -> None:
    document = ["public", place.table, place.column, place.row, place.path]
    assert place.associated_data() == json.dumps(document).encode()


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_wherever_it_is(position: int, bit: int) -> None:
    head, encoded = KEYRING.encrypt(SECRET, PLACE).rsplit(":", 1)
    sealed = bytearray(base64.urlsafe_b64decode(encoded))
    sealed[position % len(sealed)] ^= 1 << bit
    said = refusal(KEYRING, f"{head}:{base64.urlsafe_b64encode(sealed).decode()}")
    assert SECRET not in said


@given(st.data())
def test_a_ciphertext_that_was_cut_short_is_found_at_any_length(data: st.DataObject) -> None:
    ciphertext = KEYRING.encrypt(SECRET, PLACE)
    kept = data.draw(st.integers(0, len(ciphertext) - 1))
    assert "users.email.contact of row 42" in refusal(KEYRING, ciphertext[:kept])


@pytest.mark.parametrize("encoded", ["", "A", "****", "é", "AAAA", "A" * 24, "A" * 40, "AAAA\n"])
def test_what_was_never_a_ciphertext_is_found(encoded: str) -> None:
    assert refusal(KEYRING, f"enc:v1:old:{encoded}").startswith("users.email.contact of row 42 is damaged")


def test_a_plain_value_is_refused_without_being_repeated() -> None:
    assert refusal(KEYRING, SECRET) == "users.email.contact of row 42 is not encrypted"
    assert refusal(KEYRING, "") == "users.email.contact of row 42 is not encrypted"


def test_a_key_that_is_not_in_the_ring_is_named() -> None:
    said = refusal(Keyring.parse(f"new:{NEW}", BLIND), KEYRING.encrypt(SECRET, PLACE))
    assert said == "users.email.contact of row 42 is encrypted with key old, which is not in ENCRYPTION_KEYS"


def test_another_key_under_the_same_id_does_not_decrypt() -> None:
    assert "or key" in refusal(Keyring.parse(f"old:{NEW}", BLIND), KEYRING.encrypt(SECRET, PLACE))


def test_the_id_of_another_key_does_not_decrypt() -> None:
    both = Keyring.parse(f"new:{NEW},old:{OLD}", BLIND)
    refusal(both, KEYRING.encrypt(SECRET, PLACE).replace(":old:", ":new:"))


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    before, both = KEYRING.encrypt(SECRET, PLACE), Keyring.parse(f" new:{NEW} , old:{OLD}, ", BLIND)
    after = both.encrypt(SECRET, PLACE)
    assert before.startswith("enc:v1:old:")
    assert after.startswith("enc:v1:new:")
    assert [both.decrypt(each, PLACE) for each in (before, after)] == [SECRET, SECRET]


def test_equal_values_do_not_look_equal() -> None:
    assert len({KEYRING.encrypt(SECRET, PLACE) for _ in range(100)}) == 100


def test_a_keyring_prints_its_ids_only() -> None:
    keyring = Keyring.parse(f"new:{NEW},old:{OLD}", BLIND)
    assert repr(keyring) == str(keyring) == "Keyring(new, old)"


SHORT = base64.b64encode(b"sixteen bytes !!").decode()


@pytest.mark.parametrize(
    ("encryption_keys", "blind_index_key", "sentence"),
    [
        ("", BLIND, "ENCRYPTION_KEYS holds no key"),
        (" , ,", BLIND, "ENCRYPTION_KEYS holds no key"),
        (NEW, BLIND, "ENCRYPTION_KEYS: each entry must be <id>:<base64>, the id at most 16 letters and digits"),
        (f":{NEW}", BLIND, "ENCRYPTION_KEYS: each entry must be <id>:<base64>, the id at most 16 letters and digits"),
        (
            f"k 1:{NEW}",
            BLIND,
            "ENCRYPTION_KEYS: each entry must be <id>:<base64>, the id at most 16 letters and digits",
        ),
        (f"k1:{NEW},k1:{OLD}", BLIND, "ENCRYPTION_KEYS: the key id k1 stands there twice"),
        (f"k1:{NEW},k2:{SHORT}", BLIND, "ENCRYPTION_KEYS: key k2 must be 32 bytes long, it has 16"),
        ("k1:", BLIND, "ENCRYPTION_KEYS: key k1 must be 32 bytes long, it has 0"),
        (f"k1:{NEW}=", BLIND, "ENCRYPTION_KEYS: key k1 is not base64"),
        (f"k1:{NEW[:-1]}", BLIND, "ENCRYPTION_KEYS: key k1 is not base64"),
        (f"k1:{NEW}", "not base64!", "BLIND_INDEX_KEY is not base64"),
        (f"k1:{NEW}", SHORT, "BLIND_INDEX_KEY must be 32 bytes long, it has 16"),
        (f"k1:{NEW}", "", "BLIND_INDEX_KEY must be 32 bytes long, it has 0"),
    ],
)
def test_bad_keys_are_refused_in_one_sentence(encryption_keys: str, blind_index_key: str, sentence: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        Keyring.parse(encryption_keys, blind_index_key)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("key", ["c0ffee" * 10 + "cafe", OLD.strip("=")])
@pytest.mark.parametrize("entry", ["{}", "{}:k1", "{0}:,{0}:"])
def test_a_key_that_stood_where_its_id_belongs_was_repeated(key: str, entry: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        Keyring.parse(entry.format(key), BLIND)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    ("encryption_keys", "blind_index_key", "variable"),
    [("k1:schlüssel", BLIND, "ENCRYPTION_KEYS"), (f"k1:{NEW}", "schlüssel", "BLIND_INDEX_KEY")],
)
def test_a_key_with_an_umlaut_escaped_as_a_value_error(
    encryption_keys: str, blind_index_key: str, variable: str
) -> None:
    with pytest.raises(Misconfigured, match=f"^{variable}.* is not base64$"):
        Keyring.parse(encryption_keys, blind_index_key)


def test_a_new_key_is_one_that_the_settings_take() -> None:
    assert repr(Keyring.parse(f"k1:{new_key()}", new_key())) == "Keyring(k1)"
    assert len({new_key() for _ in range(100)}) == 100


@pytest.mark.parametrize("written", ["TX12345678", "tx12345678", "TX 1234 5678", " tx-1234-5678 ", "T-X1 2345678"])
def test_spelling_does_not_change_the_blind_index(written: str) -> None:
    assert KEYRING.blind_index("license|TX", written) == KEYRING.blind_index("license|TX", "TX12345678")


LICENCES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1)
DOMAINS = st.sampled_from(["license|TX", "license|CA", "license|T", "license", "vin", "ssn"])


@given(st.tuples(DOMAINS, LICENCES), st.tuples(DOMAINS, LICENCES))
def test_the_blind_index_is_equal_only_for_equal_values_of_one_domain(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert (KEYRING.blind_index(*one) == KEYRING.blind_index(*other)) is (one == other)


@given(LICENCES)
def test_the_blind_index_is_64_hex_digits_that_need_the_key(value: str) -> None:
    index = KEYRING.blind_index("license|TX", value)
    assert len(bytes.fromhex(index)) == 32
    assert index != Keyring.parse(f"old:{OLD}", NEW).blind_index("license|TX", value)
    assert index == Keyring.parse(f"new:{NEW}", BLIND).blind_index("license|TX", value), "encryption keys may rotate"
