"""Where peers are dialled, and that no client has a say in it."""

from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import FederationTrust
from less_sync.federation.outbound.addresses import Addresses, NoAddress, link_key
from less_sync.federation.outbound.calls import PeerAddress
from less_sync.federation.settings import FederationSettings
from less_sync.storage import Space
from less_sync.sync.access.authority import Homes
from less_sync.sync.forwarding import NotTrusted, names_another

ROUTE = "/api/v1/federation/ws"


def addresses(*trusted: str, own: tuple[str, ...] = ("edge.test",), **peer_urls: str) -> Addresses:
    urls = {name.replace("_", "."): url for name, url in peer_urls.items()}
    return Addresses(FederationSettings(trust=FederationTrust(trusted), peer_urls=urls), lambda: own)


@pytest.mark.parametrize(
    ("home", "host", "url"),
    [
        ("peer.example.com", "peer.example.com", f"wss://peer.example.com{ROUTE}"),
        ("peer.example.com:8443", "peer.example.com", f"wss://peer.example.com:8443{ROUTE}"),
        ("localhost:5379", "localhost", f"ws://localhost:5379{ROUTE}"),
        ("127.0.0.1:5379", "127.0.0.1", f"ws://127.0.0.1:5379{ROUTE}"),
        ("127.0.0.2:5379", "127.0.0.2", f"wss://127.0.0.2:5379{ROUTE}"),
        ("[::1]:5379", "::1", f"ws://[::1]:5379{ROUTE}"),
        ("::1", "::1", f"ws://[::1]{ROUTE}"),
        ("https://peer.example.com", "peer.example.com", f"wss://peer.example.com{ROUTE}"),
        ("https://PEER.example.com:443/", "peer.example.com", f"wss://peer.example.com{ROUTE}"),
        ("http://10.0.0.5:5379", "10.0.0.5", f"ws://10.0.0.5:5379{ROUTE}"),
        ("http://10.0.0.5:80", "10.0.0.5", f"ws://10.0.0.5{ROUTE}"),
        ("ws://h:443", "h", f"ws://h:443{ROUTE}"),
        ("https://peer.example.com/custom", "peer.example.com", "wss://peer.example.com/custom"),
        (" wss://h/x?y=1 ", "h", "wss://h/x?y=1"),
        ("bücher.example", "xn--bcher-kva.example", f"wss://xn--bcher-kva.example{ROUTE}"),
    ],
)
def test_a_home_is_dialled_where_its_row_says(home: str, host: str, url: str) -> None:
    assert addresses().of_home(home) == PeerAddress(host, url)


@pytest.mark.parametrize(
    "home",
    [
        "",
        " ",
        "https://",
        "ftp://h",
        "https://u@h",
        "https://u:p@h/x",
        "h#f",
        "https://h/#f",
        "a b",
        "h:0",
        "h:x",
    ],
)
def test_a_home_that_cannot_be_read_is_not_dialled(home: str) -> None:
    with pytest.raises(NoAddress):
        addresses().of_home(home)


def test_a_configured_url_wins_over_what_the_row_says() -> None:
    known = addresses(peer_example_com="ws://10.1.1.1:81/x")
    for home in ("peer.example.com", "https://peer.example.com:8443/custom"):
        assert known.of_home(home) == PeerAddress("peer.example.com", "ws://10.1.1.1:81/x")


def test_with_trusted_domains_no_other_home_is_dialled() -> None:
    known = addresses("home.test", "127.0.0.1:5379", "127.0.0.1:5380")
    assert known.of_home("https://home.test:8443").trusted_by == "home.test"
    assert known.of_home("http://127.0.0.1:5380").trusted_by == "127.0.0.1:5380"
    for home in ("other.test", "https://home.test.evil", "sub.home.test"):
        with pytest.raises(NoAddress):
            known.of_home(home)


def test_links_are_told_apart_by_host_and_port() -> None:
    keys = [
        link_key(addresses().of_home(home).url)
        for home in ("h", "https://h/other", "wss://h:443", "h:444", "http://h", "ws://h:80", "[::1]:5")
    ]
    assert keys == [("h", 443)] * 3 + [("h", 444)] + [("h", 80)] * 2 + [("::1", 5)]


@pytest.mark.parametrize(
    ("server", "entry"),
    [
        ("home.test", "home.test"),
        ("HOME.test.", "home.test"),
        ("https://home.test:443/any/path", "home.test"),
        ("ftp://home.test", "home.test"),
        ("127.0.0.1:5379", "127.0.0.1:5379"),
        ("http://127.0.0.1:5380/x", "127.0.0.1:5380"),
        ("127.0.0.1", "127.0.0.1:5379"),
        ("moved.test:8443", "moved.test"),
        ("edge.test", None),
        ("edge.test:99", None),
    ],
)
def test_a_client_chooses_among_the_trusted_entries(server: str, entry: str | None) -> None:
    known = addresses(
        "home.test", "127.0.0.1:5379", "127.0.0.1:5380", "moved.test", moved_test="wss://moved.test:8443/x"
    )
    assert known.trusted_name(server) == entry


@pytest.mark.parametrize(
    "server",
    [
        "other.test",
        "home.test:8443",
        "127.0.0.1:81",
        "u@home.test",
        "home.test?x",
        "home.test#x",
        "",
        "https://",
    ],
)
def test_a_client_chooses_nothing_else(server: str) -> None:
    with pytest.raises(NotTrusted):
        addresses("home.test", "127.0.0.1:5379").trusted_name(server)


def test_without_trusted_domains_a_client_chooses_nothing() -> None:
    with pytest.raises(NotTrusted):
        addresses().trusted_name("home.test")


@given(st.text(alphabet="abh:/@.#?[]% \\\n0145ometsUp", max_size=40))
def test_whatever_a_client_writes_only_configured_urls_are_dialled(server: str) -> None:
    known = addresses("home.test", "127.0.0.1:5379", own=())
    try:
        entry = known.trusted_name(server)
    except NotTrusted:
        return
    assert entry is not None
    assert known.of_home(entry).url in (f"wss://home.test{ROUTE}", f"ws://127.0.0.1:5379{ROUTE}")


@given(st.text(max_size=60))
def test_any_text_of_a_row_is_dialled_as_a_web_socket_or_not_at_all(home: str) -> None:
    try:
        address = addresses().of_home(home)
    except NoAddress:
        return
    parts = urlsplit(address.url)
    assert parts.scheme in ("ws", "wss")
    assert parts.hostname == address.host
    assert parts.username is None
    assert not parts.fragment
    assert link_key(address.url)[0] == address.host


@pytest.mark.parametrize(
    ("home", "own", "foreign"),
    [
        (None, (), False),
        ("home.test", (), True),
        ("home.test", ("home.test",), False),
        ("https://HOME.test:8443/x", ("home.test",), False),
        ("home.test:8443", ("home.test:8444",), True),
        ("home.test:8443", ("home.test:8443",), False),
        ("home.test", ("home.test:8443",), True),
        ("[::1]:5", ("::1",), False),
        ("u@home.test", ("home.test",), True),
        ("", ("home.test",), True),
    ],
)
def test_which_rows_are_foreign(home: str | None, own: tuple[str, ...], *, foreign: bool) -> None:
    assert names_another(home, own) is foreign


def row(number: int, home: str | None) -> Space:
    return Space(UUID(int=number), "", b"key", 1, 1, 0, 0, None, home)


def test_what_is_remembered_of_homes_is_bounded_and_forgotten() -> None:
    homes = Homes(entries_max=2)
    for number in (1, 2, 1, 3):
        homes.learn(row(number, "home.test"))
    assert [UUID(int=number) in homes for number in (1, 2, 3)] == [True, False, True]
    homes.learn(row(1, None))
    assert UUID(int=1) not in homes
