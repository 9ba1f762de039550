"""The file of issuers with rules of their own (docs/tokens.md 4.5)."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import (
    ISSUERS_FILE_BYTES_MAX,
    Grant,
    Issuer,
    IssuersFileError,
    TokenCheck,
    TrustedIssuers,
    parse_issuers_file,
)
from less_sync.auth.issuers_file import ISSUERS_MAX, PROBLEMS_MAX

EVERYTHING = b"""
[issuers.keycloak]
issuer = "https://login.example/realms/apps/"
algorithms = ["RS256", "PS256"]
keys = "discovery"
client_id = "azp"
audiences = ["less-sync"]
sync = { scopes = ["notes"], audiences = ["notes-app"] }
files = { scopes = ["notes-files"] }
identity = "derived"
"""
CLIENT = 'client_id: expected "client_id", "azp" or { fixed = "NAME" }'
TEXTS = "expected a list of at most 100 texts, none of them empty"


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(IssuersFileError) as caught:
        parse_issuers_file(text.encode() if isinstance(text, str) else text)
    return caught.value.problems


def test_a_table_with_everything_is_read() -> None:
    (issuer,) = parse_issuers_file(EVERYTHING)
    assert issuer == Issuer(
        name="keycloak",
        url="https://login.example/realms/apps",
        keys_url=None,
        algorithms=frozenset({"RS256", "PS256"}),
        client_claim="azp",
        audiences=frozenset({"less-sync"}),
        sync=Grant(frozenset({"notes"}), frozenset({"notes-app"})),
        files=Grant(frozenset({"notes-files"})),
        derived=True,
    )
    assert issuer.discovery_url == "https://login.example/realms/apps/.well-known/openid-configuration"


def test_what_is_left_out_is_as_for_other_issuers() -> None:
    (issuer,) = parse_issuers_file(b'[issuers.a]\nissuer = "http://a.example"\nclient_id = { fixed = "me" }')
    assert issuer.keys_url == "http://a.example/.well-known/jwks.json"
    assert (issuer.algorithms, issuer.client_fixed) == (frozenset({"ES256"}), "me")
    assert (issuer.sync, issuer.files) == (Grant(frozenset({"sync"})), Grant(frozenset({"files"})))
    assert (issuer.audiences, issuer.derived) == (frozenset(), False)


def test_a_key_set_may_be_named() -> None:
    (issuer,) = parse_issuers_file(b'[issuers.a]\nissuer = "https://a"\nkeys = "http://b:1/keys?x=1"')
    assert issuer.keys_url == "http://b:1/keys?x=1"


def test_all_problems_are_told_at_once_and_no_value_is_repeated() -> None:
    text = """
    isuers = 1
    [issuers.one]
    issuer = "ftp://hunter2@secret.example"
    algorithm = ["RS256"]
    keys = "https://hunter2@a.example"
    [issuers.two]
    issuer = "https://two.example"
    identity = "derived"
    zebra = "hunter2"
    [issuers]
    three = "hunter2"
    """
    assert problems(text) == [
        "isuers is not known, did you mean issuers?",
        "[issuers.one] algorithm is not known, did you mean algorithms?",
        "[issuers.one] issuer: invalid URL: has a user or a password",
        "[issuers.one] keys: invalid URL: has a user or a password",
        "[issuers.two] zebra is not known, known are issuer, algorithms, keys, client_id, audiences, sync, "
        "files, identity",
        '[issuers.two] audiences: required with identity = "derived"',
        "[issuers.three] is no table",
    ]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("accounts.example", "relative URL without a base"),
        ("", "relative URL without a base"),
        ("ftp://a.example", "must use http or https"),
        ("https:///path", "empty host"),
        ("https://[::1", "cannot be read"),
        ("https://a.example:99999", "invalid port number"),
        ("https://a.example?x=1", "has a query or a fragment"),
        ("https://a.example#x", "has a query or a fragment"),
        ("https://a.example/ b", "has blanks, backslashes or control characters"),
        (r"https:\\\\a.example", "has blanks, backslashes or control characters"),
    ],
)
def test_an_issuer_is_a_url_that_can_be_compared(url: str, reason: str) -> None:
    (problem,) = problems(f'[issuers.a]\nissuer = "{url}"')
    assert problem == f"[issuers.a] issuer: invalid URL: {reason}"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("keys = 1", "keys: is no text"),
        ('keys = "https://k.example/#x"', "keys: invalid URL: has a fragment"),
        ("algorithms = []", "algorithms: names none"),
        (
            'algorithms = ["HS256", "none"]',
            "algorithms: HS256, none: known are ES256, ES384, RS256, PS256, EdDSA",
        ),
        ('client_id = "sub"', CLIENT),
        ("client_id = { fixed = 1 }", CLIENT),
        ('client_id = { fixed = "" }', CLIENT),
        (
            'client_id = { fixed = "a\\u0000" }',
            'client_id: expected "client_id", "azp" or { fixed = "NAME" }',
        ),
        ('audiences = "a"', f"audiences: {TEXTS}"),
        ('audiences = ["a", 1]', f"audiences: {TEXTS}"),
        ('sync = "a"', "sync: expected { scopes = [...], audiences = [...] }"),
        ("sync = {}", "sync: names no scope and no audience, so no token opens anything"),
        ('sync = { scope = ["a"], scopes = ["b"] }', "sync.scope is not known, did you mean scopes?"),
        (
            'files = { scopes = [""] }',
            f"files.scopes: {TEXTS}",
        ),
        ("identity = []", 'identity: expected "claims" or "derived"'),
    ],
)
def test_what_is_wrong_with_a_member_is_told(lines: str, problem: str) -> None:
    found = problems(f'[issuers.a]\nissuer = "https://a.example"\n{lines}')
    assert found[0] == f"[issuers.a] {problem}"


def test_files_may_be_for_nobody() -> None:
    (issuer,) = parse_issuers_file(b'[issuers.a]\nissuer = "https://a"\nfiles = {}')
    assert not issuer.files.covers(["files", "sync"], ["a"])


def test_an_issuer_is_named_once() -> None:
    text = '[issuers.a]\nissuer = "https://a"\n[issuers.b]\nissuer = "https://a/"'
    assert problems(text) == ["[issuers.b] issuer: the same as in [issuers.a]"]
    assert problems('[issuers.a]\naudiences = ["x"]') == ["[issuers.a] issuer: is missing"]
    assert problems("[issuers.a]\nissuer = 1") == ["[issuers.a] issuer: is no text"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no table [issuers.NAME]"),
        (b"issuers = 1", "no table [issuers.NAME]"),
        (b"\xff", "not valid UTF-8"),
        (b"[issuers", "not valid TOML: "),
        (b"a = " + 5000 * b"[", "not valid TOML: nested too deep"),
        (bytes(ISSUERS_FILE_BYTES_MAX + 1), f"larger than {ISSUERS_FILE_BYTES_MAX} bytes"),
        (b"".join(b"[issuers.a%d]\n" % n for n in range(ISSUERS_MAX + 1)), "more than 100 issuers"),
    ],
)
def test_a_file_that_is_none_is_refused(content: bytes, problem: str) -> None:
    (found,) = problems(content)
    assert found.startswith(problem)


def test_problems_are_bounded() -> None:
    assert len(problems("[issuers.a]\n" + "\n".join(f"x{n} = 1" for n in range(100)))) == PROBLEMS_MAX


def test_names_that_would_break_a_line_are_shown_escaped() -> None:
    assert problems('[issuers."a\\nb"]\nissuer = 1') == [r"[issuers.'a\nb'] issuer: is no text"]


@given(st.text() | st.binary())
def test_no_content_raises_anything_but_its_own_error(content: str | bytes) -> None:
    with pytest.raises(IssuersFileError):
        parse_issuers_file(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)


def test_trusted_issuers_know_both_kinds() -> None:
    (ruled,) = parse_issuers_file(EVERYTHING)
    trusted = TrustedIssuers.of(["https://plain.example"], [ruled])
    assert "https://plain.example" in trusted
    assert ruled.url in trusted
    assert "https://other.example" not in trusted
    assert trusted.algorithms == {"ES256", "RS256", "PS256"}


TOKENS_PAGE = (Path(__file__).parents[2] / "docs/tokens.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", TOKENS_PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.partition("]")[0])
def test_every_table_of_the_page_is_read(example: str) -> None:
    (issuer,) = parse_issuers_file(example.encode())
    assert issuer.derived


def test_the_page_has_a_table_for_each_provider_it_names() -> None:
    named = re.findall(r"^\*\*(.*?)\.\*\*", TOKENS_PAGE, re.MULTILINE)
    assert named == ["Keycloak", "Auth0", "Authentik", "Zitadel", "Google", "A server of your own"]
    assert len(EXAMPLES) == len(named) + 1


def test_the_page_says_what_to_do_about_each_check() -> None:
    table = TOKENS_PAGE.partition("### 3.7 ")[2].partition("\n## ")[0]
    missing = [check.name for check in TokenCheck if f"`{check.value}`" not in table]
    assert [name for name in missing if not name.startswith("PROOF_")] == []
