"""What is done with reports that are there: `validate verify`, `render` and `diff`. Nothing is run."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from less_sync.bins.commands.database_options import environment_with
from less_sync.bins.commands.validate_work import document_or_exit, give_up, planned, tools
from less_sync.bins.errors import CommandError, print_error
from less_sync.validation.attest import EvidenceFault
from less_sync.validation.catalogue import CATALOGUE
from less_sync.validation.compare import difference, render_again
from less_sync.validation.decision import Exit
from less_sync.validation.inputs import InputProblem
from less_sync.validation.outcome import CheckEnd
from less_sync.validation.plan import Wishes
from less_sync.validation.reading import NotAReport
from less_sync.validation.redact import Redactor
from less_sync.validation.results import Fingerprint, NotADocument
from less_sync.validation.running import fingerprints, opened
from less_sync.validation.trust import trusted_keys, trusted_path, wanted
from less_sync.validation.verify import verify


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `verify`."""

    require_go: bool
    trusted_keys: Path | None
    policy: str
    max_age_s: int | None
    candidate: str
    kind: str
    stage: str
    live: bool


def verify_report(folder: Path, asked: Asked) -> int:
    """Make all demands and say which is not met; the exit code."""
    demands = wanted(
        CATALOGUE,
        environment_with(),
        _trusted(folder, asked.trusted_keys),
        go=asked.require_go,
        policy=asked.policy,
        max_age_s=asked.max_age_s,
        candidate=asked.candidate,
        kind=asked.kind,
        stage=asked.stage,
        live=_live(folder) if asked.live else None,
    )
    verdict = verify(folder, demands)
    if not verdict.met:
        print(f"not verified: {verdict.demand}: {verdict.told}")
        return int(Exit.NOT_VERIFIED)
    document = verdict.document
    assert document is not None
    what = f"a {document.decision} that still holds" if asked.require_go else f"a {document.decision}"
    print(f"verified: {what}, signed by {verdict.keyid[:16]}, digest {verdict.report_digest}")
    return int(Exit.GO)


def _trusted(folder: Path, path: Path | None) -> dict[str, bytes]:
    """The keys whose signatures count: without a file only reports of nobody do, and none verifies."""
    where = path or trusted_path(folder)
    try:
        keys = trusted_keys(where)
    except (OSError, ValueError) as error:
        give_up([f"{where}: {error}"])
    if not keys:
        told = "put the line of `less-sync validate keygen` into it, or name a file by --trusted-keys"
        print_error(f"there is no key in {where.name} beside the reports: {told}")
    return keys


def _live(folder: Path) -> Mapping[str, Fingerprint]:
    """How the targets look now, by the operator's own addresses."""
    document = document_or_exit(folder)
    made = planned(Wishes(kind=document.kind, stage=document.stage), environment_with(), anything=True)
    nothing = replace(made, selected=frozenset())  # no check is run, so no server is started for one

    async def look() -> Mapping[str, Fingerprint]:
        async with opened(nothing, secrets.token_bytes(16), tools(), Redactor()) as run:
            return await fingerprints(run.run)

    try:
        return asyncio.run(look())
    except (CheckEnd, InputProblem) as error:
        raise CommandError(f"the targets cannot be looked at: {error}") from None


def render(folder: Path) -> None:
    """Write the renderings anew, and name those that were not as they are now.

    Raises:
        CommandError: they cannot be written.
    """
    try:
        others = render_again(folder)
    except (NotAReport, NotADocument) as error:
        give_up([f"{folder}: {error}"])
    except EvidenceFault as fault:
        raise CommandError(str(fault)) from None
    print("\n".join(f"written anew: {name}" for name in others) or "every rendering is as it was")


def diff(folder: Path, other: Path) -> int:
    """Say what changed; 0 when the outcome is the same."""
    found = difference(document_or_exit(folder), document_or_exit(other))
    print("\n".join(found.lines) or "nothing changed")
    return 0 if found.same_outcome else 1
