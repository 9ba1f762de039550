"""The error tree: one root, fixed words, nothing of the input."""

import inspect
from itertools import chain

import pytest

from less_sync import auth
from less_sync.auth import AuthError, SessionError, TokenCheck, UcanError
from less_sync.auth import errors as auth_errors
from tests.auth.vectors import auth_vectors

KINDS = [kind for _, kind in inspect.getmembers(auth_errors, inspect.isclass) if issubclass(kind, Exception)]


def made(kind: type[AuthError]) -> AuthError:
    """An error of the kind, with stand-ins for what it asks for."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    needed = [parameter for parameter in parameters if parameter.default is inspect.Parameter.empty]
    values = {"int": 5, "str": "what", "str | int": "what", "TokenCheck": TokenCheck.PRESENT}
    named = [p for p in needed if p.name not in ("self", "args", "kwargs")]
    return kind(*(values[str(getattr(p.annotation, "__name__", p.annotation))] for p in named))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_exported_and_has_words(kind: type[AuthError]) -> None:
    assert issubclass(kind, AuthError)
    assert getattr(auth, kind.__name__) is kind
    assert str(made(kind)) != ""


def test_every_error_of_the_vectors_has_its_class() -> None:
    renamed = {"InvalidToken", "ExpiredToken"}
    vectors = auth_vectors()
    named = chain.from_iterable(
        vectors[part]["errors"] for part in ("jwt", "did_key", "ucan", "session_token")
    )
    named = chain(named, vectors["http_signature"]["errors"], vectors["fst"]["errors"].keys() - renamed)
    # Who cannot read revocations has no chain to check here: storage says so before.
    assert set(named) - {"RevocationCheckFailed"} <= {kind.__name__ for kind in KINDS}


def test_roots_of_branches_have_words_of_their_own() -> None:
    assert str(UcanError()) == "UCAN refused"
    assert str(SessionError()) == "invalid session token"
    assert str(AuthError()) == "authentication failed"
    assert str(auth_errors.UntrustedPeer()) == "untrusted peer"
