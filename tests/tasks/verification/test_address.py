"""Which URLs and addresses may be called: everything else is refused, however it is written."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.verification.address import AddressRefused, AddressRules, check_addresses, check_url, host_of, is_public

STRICT = AddressRules()
PRIVATE = AddressRules(is_private_allowed=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://dcs.example/v2.7/household-drivers",
        "https://DCS.Example:443/",
        "https://xn--bcher-kva.example/",
        "https://a_b.example/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ],
)
def test_a_public_place_may_be_called(url: str) -> None:
    check_url(url, STRICT)


@pytest.mark.parametrize(
    "url",
    [
        "http://dcs.example/",
        "ftp://dcs.example/",
        "https://",
        "https:///path",
        "https://user@dcs.example/",
        "https://user:secret@dcs.example/",
        "https://dcs.example\\@10.0.0.1/",
        "https://dcs.example:8443/",
        "https://dcs.example:0/",
        "https://dcs.example:99999/",
        "https://dcs.example./",
        "https://localhost./",
        "https://dcs..example/",
        "https://-dcs.example/",
        "https://dcs example/",
        "https://dcs.example/\r\nHost: other",
        "https://büch.example/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://127\u30020\u30020\u30021/",
        "https://" + "a." * 127 + "aa/",
        "https://127.0.0.1/",
        "https://127.0.0.1./",
        "https://127.1/",
        "https://127.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://8.8.8.010/",
        "https://256.1.1.1/",
        "https://a.1/",
        "https://a.0x/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://192.0.2.1/",
        "https://192.88.99.1/",
        "https://198.18.0.1/",
        "https://224.0.0.1/",
        "https://240.0.0.1/",
        "https://255.255.255.255/",
        "https://[::]/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[::7f00:1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2001::1]/",
        "https://[2001:db8::1]/",
        "https://[2002:7f00:1::]/",
        "https://[fc00::1]/",
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[2606:4700::1111%25eth0]/",
        "https://[ff02::1]/",
        "https://[v1.fe80::a]/",
        "https://[127.0.0.1]/",
    ],
)
def test_any_other_place_may_not(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, STRICT)


def test_further_ports_are_allowed_by_name() -> None:
    rules = AddressRules(frozenset({442}))
    check_url("https://dcs.example:442/", rules)
    check_url("https://dcs.example/", rules)
    with pytest.raises(AddressRefused):
        check_url("https://dcs.example:443442/", rules)
    with pytest.raises(AddressRefused):
        check_url("https://dcs.example:8443/", rules)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "http://localhost/", "https://[::1]:1/", "http://10.0.0.1/"])
def test_a_sandbox_may_be_anywhere(url: str) -> None:
    check_url(url, PRIVATE)
    with pytest.raises(AddressRefused):
        check_url(url, STRICT)


@pytest.mark.parametrize("url", ["http://user@localhost/", "http://2130706433/", "http://127.1/", "http://local host/"])
def test_not_even_a_sandbox_is_written_strangely(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, PRIVATE)


def test_one_bad_address_among_good_ones_is_enough() -> None:
    check_addresses(["8.8.8.8", "2606:4700::1111"], STRICT)
    for bad in ("10.0.0.1", "::1", "fe80::1%eth0", "nonsense"):
        with pytest.raises(AddressRefused):
            check_addresses(["8.8.8.8", bad], STRICT)
        check_addresses(["8.8.8.8", bad], PRIVATE)


@given(st.ip_addresses())
def test_nothing_that_python_calls_special_is_public(address: IPv4Address | IPv6Address) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    assert not (special and is_public(address))


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_no_wrapping_of_an_inner_address_is_public(inner: IPv4Address) -> None:
    number = int(inner)
    wrapped = [
        IPv6Address(number),
        IPv6Address((0xFFFF << 32) | number),  # mapped
        IPv6Address((0x0064_FF9B << 96) | number),  # NAT64
        IPv6Address((0x2002 << 112) | (number << 80)),  # 6to4
        IPv6Address((0x2001_0000 << 96) | (number ^ 0xFFFFFFFF)),  # Teredo
    ]
    assert [str(address) for address in wrapped if is_public(address)] == []


@given(st.ip_addresses())
def test_a_url_and_the_address_it_leads_to_are_judged_alike(address: IPv4Address | IPv6Address) -> None:
    url = f"https://[{address}]/" if address.version == 6 else f"https://{address}/"
    if is_public(ip_address(str(address))):
        check_url(url, STRICT)
    else:
        with pytest.raises(AddressRefused):
            check_url(url, STRICT)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://DCS.example/path?x=1", "dcs.example"),
        ("https://dcs.example:443/", "dcs.example"),
        ("https://dcs.example:442/", "dcs.example:442"),
        ("https://user:secret@dcs.example/", "dcs.example"),
        ("http://[::1]:80/", "[::1]:80"),
        ("https://a b\x00/", "a?b?"),
        ("https://[nonsense/", "?"),
    ],
)
def test_a_host_is_named_without_anything_else(url: str, host: str) -> None:
    assert host_of(url) == host
