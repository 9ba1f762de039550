"""`token explain` to its output and exit code."""

import asyncio
import json
from collections.abc import Sequence

from less_sync.bins.commands.token_explain_work import Finding, Line, Rules, find, lines
from less_sync.bins.errors import CommandError
from less_sync.bins.settings.config import Settings
from less_sync.client.folder.errors import ExitCode
from less_sync.client.kept_key import KeyFileError


def run(text: str, proof: str, settings: Settings, *, fetch: bool, now_s: float, as_json: bool) -> int:
    """Explain a token and return the exit code."""
    try:
        rules = Rules.of(settings)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    finding = asyncio.run(find(text, proof, rules, fetch=fetch, now_s=now_s))
    told = lines(text, proof, finding, rules, now_s=now_s)
    print(_json(finding, told) if as_json else "\n".join([*map(_row, told), "", _verdict(finding)]))
    if finding.undecided:
        return ExitCode.FAILURE
    return ExitCode.TOKEN_REFUSED if finding.failed is not None else ExitCode.OK


def _row(line: Line) -> str:
    start = f"{line.outcome:5}  {line.step.number:>2}  {line.step.what:21}"
    return f"{start}  {line.detail}".rstrip()


def _verdict(finding: Finding) -> str:
    if finding.undecided:
        return "undecided: without the issuer's key nobody can tell"
    if finding.failed is not None:
        return f"refused: {finding.failed}"
    return "accepted"


def _json(finding: Finding, told: Sequence[Line]) -> str:
    checks = [
        {"number": line.step.number, "what": line.step.what, "outcome": line.outcome, "detail": line.detail}
        for line in told
    ]
    accepted = None if finding.undecided else finding.failed is None
    return json.dumps({"accepted": accepted, "check": finding.failed, "checks": checks}, indent=2)
