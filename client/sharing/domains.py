"""Domains of servers, as people and bundles name them."""

from less_sync.auth import MalformedText, parse_peer_domain
from less_sync.client.folder.errors import UsageProblem


def is_domain(text: str) -> bool:
    """Whether a text is the name of a server in the form that is kept. Such a text can be printed."""
    try:
        return bool(text) and parse_peer_domain(text) == text
    except MalformedText:
        return False


def domain_of(text: str, option: str) -> str:
    """The domain that an option names, perhaps by an address.

    Raises:
        UsageProblem: it names none.
    """
    try:
        domain = parse_peer_domain(text)
    except MalformedText:
        domain = ""
    if not domain:
        raise UsageProblem(f"{option} names no server: {text}", "for example sync.example.org")
    return domain
