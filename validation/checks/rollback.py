"""Lane `rollback`: there is a way back, it was rehearsed, and it costs no more than was acknowledged.

Hooks are commands of the operator's with a contract in JSON (docs/validation.md 6.6). Production's own is
asked for its status and for dry runs alone; what moves a weight is staging's.
"""

import asyncio
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from less_sync.migrations import SHARED_LAST
from less_sync.validation.checks.rollback_rehearsal import PROCEDURES as REHEARSALS
from less_sync.validation.context import Context
from less_sync.validation.fingerprint import changed, fingerprint, kind
from less_sync.validation.hooks import HOOK_S, TIMEOUT, Ran, hook, words_of
from less_sync.validation.metrics import read_metrics
from less_sync.validation.outcome import Blocked, Broken, CheckEnd, Faulty, slug
from less_sync.validation.procedure import AtLeast, AtMost, Looser, Parameter, Place, Procedure, Same
from less_sync.validation.repository import GitFault, Repository
from less_sync.validation.results import Fingerprint
from less_sync.validation.sentinel import CRITERIA, measure_sentinel, plant

REFERENCE_BYTES_MAX: Final = 4 * 1024 * 1024
WEIGHT_APPLIED_S: Final = 60.0
WEIGHT_POLL_S: Final = 0.5
FULL: Final = 100
WANTED_REFERENCE: Final = "rollback"

_SESSIONS: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
AND ($1::text = '' OR usename = $1) AND ($2::text = '' OR application_name = $2)"""
_SEES_ALL: Final = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"


# References and losses.


async def references(context: Context) -> None:
    """The papers for the way back are there, committed and not empty. The report has their digests."""
    named = context.run.manifest.references
    context.measured.same("references", True, WANTED_REFERENCE in named, slug("not-named", WANTED_REFERENCE))
    for name, path in named.items():
        reason = await asyncio.to_thread(_reference, Path(path), context.run.inputs.environment)
        context.say(f"{name}: {path}: {reason or 'committed'}")
        context.measured.same("references", "", reason, slug(reason or "reference", name))


def _reference(path: Path, environment: Mapping[str, str]) -> str:
    """What is wrong with a file; empty for nothing."""
    try:
        with path.open("rb") as file:
            content = file.read(REFERENCE_BYTES_MAX + 1)
    except OSError:
        return "no-file"
    if not content.strip():
        return "empty"
    if len(content) > REFERENCE_BYTES_MAX:
        return "too-long"
    try:
        repository = Repository.around(path.parent, environment)
        committed = repository.committed(path, most_bytes=REFERENCE_BYTES_MAX)
    except GitFault:
        return "not-committed"
    return "" if committed == content else "not-committed"


async def losses(context: Context) -> None:
    """All that going down would lose is on the list beside the migrations, and acknowledged by its name."""
    plan, measured = context.run.scratch.plan, context.measured
    acknowledged = context.run.manifest.acknowledged_losses
    back_to = context.number("back_to")
    for version in sorted(plan.versions, reverse=True):
        if version <= back_to:
            continue
        loss = plan.losses.get(version)
        measured.same("losses", True, loss is not None, slug("unlisted", version))
        if loss is not None and not loss.is_nothing:
            context.say(f"reverting {version} {loss.text}")
            measured.same("losses", True, loss.name in acknowledged, slug("unacknowledged", loss.name))
    measured.same("losses", True, bool(plan.versions), "no-migrations")
    known = {loss.name for loss in plan.losses.values()}
    for name in acknowledged:
        measured.same("losses", True, name in known, slug("no-such-loss", name))
    measured.number("reverted", sum(version > back_to for version in plan.versions))


# Hooks.


@dataclass(frozen=True, slots=True)
class Weights:
    """What a hook's `status` prints."""

    stable: str
    canary: str
    percent: int
    stable_connections: int | None = None


def _weights(ran: Ran) -> Weights:
    """Raises Faulty: `status:EXIT`, `not-json`, `status-shape`."""
    if ran.status != 0:
        raise Faulty("status", ran.status % 256)
    document = ran.json()
    if not isinstance(document, dict):
        raise Faulty("status-shape")
    stable, canary = document.get("stable"), document.get("canary")
    percent, connections = _count(document.get("percent")), document.get("stable_connections")
    if not (isinstance(stable, str) and stable and isinstance(canary, str) and canary):
        raise Faulty("status-shape")
    if percent is None or percent > FULL or (connections is not None and _count(connections) is None):
        raise Faulty("status-shape")
    return Weights(stable, canary, percent, _count(connections))


def _count(value: Any) -> int | None:
    """A whole number that is none of JSON's truth values."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


async def _asked(context: Context, variable: str) -> Weights:
    """The status of a hook. Raises Blocked without one, else as `_weights` and `hook`."""
    command = context.run.inputs.value(variable)
    if command is None:
        raise Blocked("input", variable)
    return _weights(await hook(context, (*words_of(command), "status")))


def _at(context: Context, target: str) -> Context:
    """The same check, looking at a target."""
    return replace(context, check=replace(context.check, target=target))


@dataclass(frozen=True, slots=True)
class _Production:
    """What a dry run must not change."""

    weights: Weights | None
    server: Fingerprint


async def _production(context: Context) -> _Production:
    weights = None
    if context.run.inputs.value("CANARY_HOOK") is not None:
        weights = await _asked(context, "CANARY_HOOK")
    return _Production(weights, await fingerprint(_at(context, "production")))


async def rollback_command(context: Context) -> None:
    """The command of the way back, as a dry run: it names the incumbent's image and changes nothing."""
    inputs, measured = context.run.inputs, context.measured
    image, command = inputs.value("INCUMBENT_IMAGE"), inputs.value("ROLLBACK_COMMAND")
    if image is None:
        raise Blocked("input", "INCUMBENT_IMAGE")
    before = await _production(context)
    if command is not None:
        words = words_of(command)
    elif before.weights is not None:
        words = (*words_of(inputs.value("CANARY_HOOK") or ""), "rollback", before.weights.stable)
    else:
        raise Blocked("input", "ROLLBACK_COMMAND")
    try:
        ran = await hook(context, (*words, "--dry-run"), more={"DRY_RUN": "1"})
    finally:
        # However it ended: that it acted is the worst that can be said of it.
        after = await _production(context)
        measured.same("untouched", before.weights, after.weights, "dry-run-acted")
        measured.same("untouched", [], changed(before.server, after.server), "dry-run-acted")
        starts = (before.server.process_start, after.server.process_start)
        measured.same("untouched", *starts, "dry-run-acted")
    measured.same("dry-run", 0, ran.status, slug("exit", ran.status % 256))
    if ran.status != 0:
        return
    document = ran.json()
    told = document.get("target_image") if isinstance(document, dict) else None
    actions = document.get("actions") if isinstance(document, dict) else None
    measured.same("dry-run", True, isinstance(actions, list) and bool(actions), "no-actions")
    measured.same("dry-run", image, told, "other-image")
    context.run.facts["rollback"] = (json.dumps(list(words)), told, ran.status)


async def canary_status(context: Context) -> None:
    """Production's weight is where the stage wants it; without a hook, the server there is the wanted one."""
    after = context.run.stage == "after"
    if context.run.inputs.value("CANARY_HOOK") is not None:
        weights = await _asked(context, "CANARY_HOOK")
        context.say(f"{weights.percent} % of production lead to {weights.canary}")
        context.measured.same("weight", FULL if after else 0, weights.percent, "weight")
        return
    inputs, there = context.run.inputs, _at(context, "production")
    incumbent = inputs.value("INCUMBENT_KIND") or ""
    wanted = "less-sync" if after else incumbent
    if wanted == "go":
        context.say("a Go server is not told apart by the probe: taken as declared")
        wanted = there.target.spec.server
    seen = await kind(there) if wanted != "go" else "go"
    context.say(f"there is no hook; production answers like {seen}")
    context.measured.same("weight", wanted, seen, slug("server", seen))
    if incumbent == "less-sync":
        families = await read_metrics(there)
        told = {one.labels.get("version", "") for one in families.all("build")}
        candidate = context.run.candidate_version
        context.say(f"production runs {', '.join(sorted(told)) or 'an unknown version'}")
        if not told:
            raise Blocked("no-data")
        context.measured.same("weight", after, told == {candidate}, "build")


# The drill.


async def drill(context: Context) -> None:
    """A real way back on staging: all of its weight to the canary, and back, with the data intact."""
    words, limit_s = (
        words_of(context.run.inputs.value("STAGING_CANARY_HOOK") or ""),
        context.number("limit_s"),
    )
    owner = context.run.people.person(context.check.target, "owner")
    before = await _asked(context, "STAGING_CANARY_HOOK")
    await plant(context)
    back = False
    try:
        await _told(context, (*words, "set-weight", before.stable, before.canary, str(FULL)))
        await _applied(context, FULL)
        began_s = time.monotonic()
        await _rolled_back(context, (*words, "rollback", before.stable), float(limit_s))
        await _applied(context, 0)
        back = True
        await _healthy(context)
        context.measured.number("drill_s", math.ceil(time.monotonic() - began_s))
    finally:
        if not back:
            # Whatever went wrong, a weight is not left behind.
            await asyncio.shield(_given_back(context, (*words, "rollback", before.stable)))
    async with context.converse(owner) as one:
        await measure_sentinel(context, one, owner)


async def _told(context: Context, argv: tuple[str, ...], *, timeout_s: float = HOOK_S) -> None:
    ran = await hook(context, argv, timeout_s=timeout_s)
    if ran.status != 0:
        raise Faulty("hook", ran.status % 256)


async def _rolled_back(context: Context, argv: tuple[str, ...], limit_s: float) -> None:
    try:
        await _told(context, argv, timeout_s=limit_s)
    except Broken as broken:
        if broken.outcome.reason != TIMEOUT:
            raise
        context.say(f"the way back took longer than {limit_s:.0f} s")
        raise Faulty("deadline") from None


async def _applied(context: Context, percent: int) -> None:
    """Wait until the hook reads the weight back; measures the criterion `weight`."""
    deadline_s = time.monotonic() + WEIGHT_APPLIED_S
    while True:
        seen = (await _asked(context, "STAGING_CANARY_HOOK")).percent
        if seen == percent or time.monotonic() > deadline_s:
            break
        await asyncio.sleep(WEIGHT_POLL_S)
    context.measured.same("weight", percent, seen, "weight-not-applied")
    if seen != percent:
        raise Faulty("weight-not-applied")


async def _healthy(context: Context) -> None:
    status = (await context.request("GET", "/health")).status
    context.measured.same("health", 200, status, slug("status", status))


async def _given_back(context: Context, argv: tuple[str, ...]) -> None:
    try:
        await _told(context, argv)
        context.say("the weight was taken back")
    except CheckEnd as end:
        context.say(f"the weight was not taken back: {end}; staging needs somebody's hand")


# The end of the incumbent.


async def prior_go(context: Context) -> None:
    """The report of the cutover, after the switch, is one that may be acted on."""
    report = context.text("report")
    if not report:
        raise Blocked("input", "report")
    verifier = context.run.verifier
    if verifier is None:
        raise Broken("no-verifier")
    verdict = await asyncio.to_thread(verifier, Path(report), "cutover", "after")
    context.say("it may be acted on" if verdict.met else f"{verdict.demand}: {verdict.told}")
    context.measured.same("report", "", verdict.demand, slug("demand", verdict.demand or "none"))


async def incumbent_idle(context: Context) -> None:
    """For a while nobody is served by the incumbent any more, by the hook and by the database."""
    inputs, measured = context.run.inputs, context.measured
    role, name = context.text("role"), context.text("application_name")
    if not role and not name:
        raise Blocked("input", "role")
    if role and role == inputs.value("DATABASE_ROLE"):
        context.say("the role is the candidate's too: its sessions tell nothing of the incumbent")
        raise Blocked("input", "role")
    began_s, looks = time.monotonic(), 0
    while True:
        weights = await _asked(context, "CANARY_HOOK")
        measured.same("weight", FULL, weights.percent, "weight")
        if weights.stable_connections is not None:
            measured.same("idle", 0, weights.stable_connections, "connections")
        async with context.database() as connection:
            if name and not await connection.fetchval(_SEES_ALL):
                raise Blocked("privilege", "pg_read_all_stats")
            sessions = await connection.fetchval(_SESSIONS, role, name)
        measured.same("idle", 0, sessions, "sessions")
        looks += 1
        elapsed_s = time.monotonic() - began_s
        measured.number("watched_s", int(elapsed_s), samples=looks)
        if sessions or weights.percent != FULL or weights.stable_connections:
            return
        if elapsed_s >= context.number("watch_s"):
            context.say(f"nobody in {looks} looks within {elapsed_s:.0f} s")
            return
        await asyncio.sleep(min(context.number("every_ms") / 1000, context.number("watch_s") - elapsed_s))


PROCEDURES: Final = (
    Procedure(
        "references",
        "rollback",
        references,
        "the papers for the way back are there and committed",
        (Same("references"),),
    ),
    *REHEARSALS,
    Procedure(
        "rollback-dry-run",
        "rollback",
        rollback_command,
        "the command of the way back, as a dry run, names the incumbent and changes nothing",
        (Same("untouched"), Same("dry-run")),
        timeout_s=150,
    ),
    Procedure(
        "canary-status",
        "rollback",
        canary_status,
        "production's weight, or the server there, is what the stage wants",
        (Same("weight"),),
        timeout_s=120,
    ),
    Procedure(
        "drill",
        "rollback",
        drill,
        "staging is switched over and back for real, in time and with its data intact",
        (
            Same("weight"),
            Same("health"),
            AtMost("drill_s", "limit_s", "deadline"),
            *(Same(name) for name in CRITERIA),
        ),
        parameters={"limit_s": Parameter(120, Looser.UP)},
        timeout_s=180,
        exclusive=("identity:owner",),
        capabilities=("owner:token",),
        inputs=("STAGING_CANARY_HOOK",),
        offered=True,
        writes=True,
    ),
    Procedure(
        "prior-go",
        "rollback",
        prior_go,
        "the report of the cutover after the switch may be acted on",
        (Same("report"),),
        parameters={"report": Parameter("", Looser.NEVER)},
    ),
    Procedure(
        "incumbent-idle",
        "rollback",
        incumbent_idle,
        "nobody is served by the incumbent any more",
        (Same("weight"), Same("idle"), AtLeast("watched_s", "watch_s", "not-watched")),
        parameters={
            "watch_s": Parameter(600, Looser.DOWN),
            "every_ms": Parameter(10_000, Looser.UP),
            "role": Parameter("", Looser.NEVER),
            "application_name": Parameter("", Looser.NEVER),
        },
        timeout_s=700,
        place=Place.BESIDE,
        database=True,
    ),
    Procedure(
        "losses",
        "rollback",
        losses,
        "what going down would lose is listed, and acknowledged by name",
        (Same("losses"),),
        parameters={"back_to": Parameter(SHARED_LAST, Looser.UP)},
    ),
)
