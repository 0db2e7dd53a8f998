"""Whom an address reaches, however it is written: a file's URL may lead anywhere."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_falinvoke.api.addresses import Reach, problem_of, reach_of

REACHES = {
    Reach.PUBLIC: ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1"],
    Reach.LOOPBACK: ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::"],
    Reach.PRIVATE: [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "fd00::1",
        "::ffff:10.1.2.3",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::1",
    ],
    Reach.SPECIAL: [
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "fec0::1",
        "2001:db8::1",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "::127.0.0.1",
        "100::1",
        "192.0.0.192",
        "192.88.99.1",
        "3fff::1",
    ],
}


@pytest.mark.parametrize(("reach", "address"), [(reach, one) for reach, some in REACHES.items() for one in some])
def test_an_address_reaches(reach: Reach, address: str) -> None:
    assert reach_of(address) is reach


def test_an_address_with_one_of_ipv4_in_it_reaches_what_that_does() -> None:
    """Teredo: the client's address is hidden in the last bytes."""
    hidden = "2001:0:5db8:d822::" + "80ff:fffe"  # 127.0.0.1, each bit turned over
    assert reach_of(hidden) is not Reach.PUBLIC


@pytest.mark.parametrize(
    ("url", "http_allowed", "words"),
    [
        ("https://v3.fal.media/a.png?x=1", False, None),
        ("http://127.0.0.1/a.png", True, None),
        ("http://v3.fal.media/a.png", False, "'http'"),
        ("ftp://v3.fal.media/a.png", True, "'ftp'"),
        ("file:///etc/passwd", True, "'file'"),
        ("//host/a.png", True, "scheme ''"),
        ("https://user:word@host/a.png", False, "password"),
        ("https://user@host/a.png", False, "user name"),
        ("https:///a.png", False, "no host"),
    ],
)
def test_a_url_that_no_file_is_fetched_from_is_named(url: str, http_allowed: bool, words: str | None) -> None:
    problem = problem_of(httpx.URL(url), http_allowed=http_allowed)
    assert (problem is None) is (words is None)
    assert words is None or words in str(problem)
