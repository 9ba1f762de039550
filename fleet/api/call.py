"""What a route is handed, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl
from uuid import UUID

from less_sync.fleet.api.body import Fields, parse_object
from less_sync.fleet.errors import FieldProblem, Refused, invalid, not_found

QUERY_FIELDS_MAX: Final = 50


class Role(IntEnum):
    """What an operator may do; each includes the ones below it."""

    NONE = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Actor:
    """Who calls.

    Attributes:
        name: for the audit trail and the log: `management-key`, `operator:{username}`, `agent:{id}`,
            `enrolment:{id}`, or `anonymous`.
        role: of an operator; NONE for machines.
        agent_id: of an agent's own token.
        enrolment_id: of an enrolment token.
        operator_id: of an operator who has signed in.
        token_hash: of the agent's token, the enrolment token or the session that was shown.
        csrf_token: what goes with the session of a cookie; empty for all other credentials.
    """

    name: str
    role: Role = Role.NONE
    agent_id: UUID | None = None
    enrolment_id: UUID | None = None
    operator_id: UUID | None = None
    token_hash: bytes = field(default=b"", repr=False)
    csrf_token: str = field(default="", repr=False)


ANONYMOUS: Final = Actor("anonymous")


class Answer(NamedTuple):
    """A response.

    Attributes:
        content: what is encoded as JSON, its members in this order; None sends no body.
        headers: besides those that every response has.
    """

    status: int
    content: object = None
    headers: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Call:
    """One request, authenticated, its body read."""

    method: str
    path: str
    params: Mapping[str, str]
    """What stands in the path for each `{name}` of the route."""
    query_string: bytes
    headers: Mapping[bytes, bytes]
    request_id: UUID
    address: str | None
    """Of the client; None when it is not known."""
    actor: Actor
    body: bytes = field(default=b"", repr=False)
    stated: tuple[tuple[str, object], ...] = ()
    """What the route wants to have in the log line, beside what each has."""

    def fields(self, *, strict: bool = True, optional: bool = False) -> Fields:
        """The body's members, to be read one by one and then `finish`ed.

        Args:
            strict: a member that nobody reads is a problem; agents may be newer than the plane and send more.
            optional: no body stands for an empty object.

        Raises:
            Refused: it is no JSON object.
        """
        return Fields(parse_object(self.body or b"{}" if optional else self.body), strict=strict)

    def query(self) -> Fields:
        """The parameters of the query as members; one that comes more than once is a list.

        Raises:
            Refused: it is not UTF-8, holds a NUL, or has more than 50 parameters.
        """
        try:
            pairs = parse_qsl(
                self.query_string.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=QUERY_FIELDS_MAX,
            )
            if any("\0" in name or "\0" in text for name, text in pairs):
                raise ValueError("the database keeps no NUL")
        except ValueError:
            raise invalid([FieldProblem("query", "not a query of at most 50 parameters in UTF-8")]) from None
        members: dict[str, object] = {}
        for name, text in pairs:
            earlier = members.get(name)
            if earlier is None:
                members[name] = text
            elif isinstance(earlier, list):
                earlier.append(text)
            else:
                members[name] = [earlier, text]
        return Fields(members, strict=True)

    def uuid(self, name: str, resource: str) -> UUID:
        """An id of the path.

        Raises:
            Refused: 404 of the resource, as for an id that nobody has, when it is no lower-case UUID.
        """
        text = self.params[name]
        try:
            value = UUID(text)
        except ValueError:
            raise not_found(resource) from None
        if str(value) != text:
            raise not_found(resource)
        return value

    def header(self, name: bytes) -> str | None:
        """A header's value, by its name in lower case; None without it."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


def refuse_body(call: Call) -> None:
    """For routes that take none: an empty body or an empty object, so that nothing is silently dropped."""
    if call.body:
        call.fields(optional=True).finish()


__all__ = ["ANONYMOUS", "Actor", "Answer", "Call", "Refused", "Role", "refuse_body"]
