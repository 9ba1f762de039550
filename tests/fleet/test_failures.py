"""How failed attempts are counted per client address: docs/fleet.md 3.1."""

from less_sync.fleet.failures import ADDRESSES_MAX, Failures


def test_failures_are_counted_for_a_minute_an_ipv6_network_and_so_many_addresses() -> None:
    now = [0.0]
    failures = Failures(lambda: now[0])

    def failed(address: str | None, times: int = 1) -> int:
        return [failures.count(address) for _ in range(times)][-1]

    assert failed("192.0.2.1", 10) == 0
    assert failed("192.0.2.1") == 60
    assert failed("192.0.2.2") == 0
    now[0] = 59.4
    assert failed("192.0.2.1") == 1
    now[0] = 60
    assert failed("192.0.2.1") == 0
    assert failed("2001:db8:0:1::1", 10) == 0
    assert failed("2001:db8:0:1:ffff::2") == 60
    assert failed("2001:db8:0:2::1") == 0
    assert failed(None, 10) == 0
    assert failed("no address") == 60
    failures.forgive("no address")
    failures.forgive(None)
    assert failed(None) == 0
    failed("203.0.113.1", 11)
    for n in range(ADDRESSES_MAX - 1):
        failed(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert failed("203.0.113.1") > 0
    for n in range(ADDRESSES_MAX):
        failed(f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert failed("203.0.113.1") == 0
    assert len(failures) == ADDRESSES_MAX
