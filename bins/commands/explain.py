"""`space explain`: find the token meant, ask the database if there is one, and answer."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import UUID

from less_sync.auth import InvalidUcan, Permission, UcanChain, parse_chain, parse_uuid
from less_sync.bins.postgres.evidence import read_evidence
from less_sync.client.folder.errors import ExitCode, UsageProblem
from less_sync.client.sharing.bundle import bundled_ucan, is_bundle
from less_sync.client.sharing.explain import Evidence, explain, space_of
from less_sync.client.sharing.session import Output, bound


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked, as the command line says. The token is the text, or the folder's own."""

    token: str = field(repr=False)
    folder: Path | None
    permission: str | None
    audience: str | None
    space: str | None
    database_url: str | None = field(repr=False)
    data_dir: Path


async def inquire(inquiry: Inquiry, output: Output, *, now_s: float) -> int:
    """Answer, and return the exit code: 0 for yes, 9 for no.

    Raises:
        UsageProblem: no token, or it is not known in which space.
        FolderError: the database cannot be read.
    """
    ucan = _ucan(inquiry)
    space = _space(inquiry, ucan)
    chain = _chain(ucan)
    evidence: Evidence | None = None
    if chain is not None:
        evidence = await read_evidence(inquiry.database_url, inquiry.data_dir, space, chain.cids)
    answer = explain(
        ucan,
        space=space,
        needed=None if inquiry.permission is None else Permission[inquiry.permission],
        audience=inquiry.audience,
        evidence=evidence,
        now_s=now_s,
    )
    output.tell("explanation", answer.words(), **asdict(answer))
    return int(ExitCode.OK if answer.allowed else ExitCode.ACCESS_LOST)


def _ucan(inquiry: Inquiry) -> str:
    if inquiry.folder is not None:
        return bound(inquiry.folder)[1].ucan
    text = inquiry.token.strip()
    return bundled_ucan(text) if is_bundle(text) else text


def _chain(ucan: str) -> UcanChain | None:
    try:
        return parse_chain(ucan)
    except InvalidUcan:
        return None


def _space(inquiry: Inquiry, ucan: str) -> UUID:
    if inquiry.space is not None:
        space = parse_uuid(inquiry.space)
        if space is None:
            raise UsageProblem("--space is no UUID")
        return space
    try:
        space = space_of(ucan)
    except InvalidUcan as error:
        raise UsageProblem(f"this is no token of a space: {error.reason}") from error
    if space is None:
        raise UsageProblem("the token names no space", "--space says which one is meant")
    return space
