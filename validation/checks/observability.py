"""Lane `observability`: what a server tells of itself, and nothing of people (docs/validation.md 6.5).

Counters mean something as differences: windows read them before all other checks and after them. A server
that counts nothing, or of which too little is known, has not passed.
"""

import asyncio
import math
from collections.abc import Iterator
from typing import Final

import httpx

from less_sync.validation.commands import printed
from less_sync.validation.context import Context
from less_sync.validation.hooks import TIMEOUT
from less_sync.validation.logs import payloads_in, read_log
from less_sync.validation.metrics import Families, read_metrics, show
from less_sync.validation.outcome import Broken, Faulty, slug
from less_sync.validation.procedure import AtMost, Looser, Parameter, Place, Procedure, Same
from less_sync.validation.targets import Answer, user_agent

PPM: Final = 1_000_000
FOREVER_MS: Final = 10**12
"""What stands for a time that is no number."""
TOP_UP_AT_ONCE: Final = 8
COUNTED_TRIES: Final = 20
COUNTED_PAUSE_S: Final = 0.1
TOP_UP_MAX: Final = 10_000
POLL_S: Final = 0.5
ALERT: Final = "less-sync-validate"


async def scrape(context: Context) -> None:
    """The metrics can be read where they should be, hold every family that is looked at, and nowhere else."""
    families = await read_metrics(context)
    for use, name in families.names.items():
        context.measured.same("families", True, families.has(use), slug("missing", name))
        finite = all(math.isfinite(one.value) for one in families.all(use))
        context.measured.same("finite", True, finite, slug("not-finite", name))
    answer = await context.request("GET", "/metrics")
    context.measured.same("private", False, _is_metrics(answer, families), "public")


def _is_metrics(answer: Answer, families: Families) -> bool:
    """Whether an answer tells any of it; a page that stands for every unknown path does not."""
    text = answer.body.decode(errors="replace")
    told = "# TYPE " in text or any(name in text for name in families.names.values())
    return answer.status == 200 and told


async def errors_window(context: Context) -> None:
    """Few answers were errors while the run went on, and few connections but its own were turned away."""
    target = context.target
    upgrades, refused = target.upgrades, target.refused
    before = await read_metrics(context)
    await context.until_others_done()
    own_upgrades, own_refused = target.upgrades - upgrades, target.refused - refused
    after = await read_metrics(context)
    needed = min(context.number("requests_min"), TOP_UP_MAX)
    own = max(0, needed - _requests(before, after))
    if own and after.has("requests"):
        context.say(f"clients made {needed - own} requests: {own} are added")
        await _top_up(context, own)
        after = await read_metrics(context)
        # A request is counted once its answer has left: the last ones may not be there yet.
        for _ in range(COUNTED_TRIES):
            if _requests(before, after) >= needed:
                break
            await asyncio.sleep(COUNTED_PAUSE_S)
            after = await read_metrics(context)
    show(context, before, "requests", "refusals")
    show(context, after, "requests", "rpc", "refusals")
    context.measured.number("own_requests", own)
    for use in ("requests", "rpc", "refusals"):
        context.measured.same("counting", False, _went_back(before, after, use), "restarted")
    requests = _requests(before, after)
    enough = requests if requests >= needed and _known(before, after, "requests") else 0
    errors = sum(grown for labels, grown in _growth(before, after, "requests") if labels["code"][:1] == "5")
    internal = sum(grown for labels, grown in _growth(before, after, "rpc") if labels["code"] == "internal")
    measured = context.measured
    measured.number("http_5xx_ppm", _ppm(errors, requests), samples=enough)
    measured.number(
        "rpc_internal", math.ceil(internal), samples=enough if _known(before, after, "rpc") else 0
    )
    turned_away = sum(grown for _, grown in _growth(before, after, "refusals"))
    by_status = sum(
        grown for labels, grown in _growth(before, after, "refusals") if labels["reason"].startswith("http_")
    )
    opened = sum(grown for labels, grown in _growth(before, after, "requests") if labels["code"] == "101")
    measured.number(
        "refusals_ppm",
        _ppm(max(0.0, turned_away - own_refused), opened + by_status - own_upgrades),
        samples=enough if _known(before, after, "refusals") else 0,
    )
    measured.number("requests", requests)
    measured.number("own_handshakes_refused", own_refused)


def _growth(before: Families, after: Families, use: str) -> Iterator[tuple["_Labels", float]]:
    """How much each series of a counter has grown; one that is new began at zero."""
    then = {one.key: one.value for one in before.all(use)}
    growth = ((_Labels(one.labels), one.value - then.get(one.key, 0.0)) for one in after.all(use))
    return ((labels, grown) for labels, grown in growth if math.isfinite(grown))


def _known(before: Families, after: Families, use: str) -> bool:
    """Whether a counter is there, and can be subtracted."""
    return after.has(use) and all(
        math.isfinite(one.value) for families in (before, after) for one in families.all(use)
    )


class _Labels(dict[str, str]):
    """A label that a series has not is empty."""

    def __missing__(self, _key: str) -> str:
        return ""


def _went_back(before: Families, after: Families, use: str) -> bool:
    """Whether a counter is lower than it was, or gone: then its process is another one."""
    now = {one.key: one.value for one in after.all(use)}
    return any(now.get(one.key, -1.0) < one.value for one in before.all(use))


def _requests(before: Families, after: Families) -> int:
    """HTTP requests that were answered in between."""
    growth = _growth(before, after, "requests")
    return int(sum(grown for labels, grown in growth if labels["code"] != "aborted"))


def _ppm(part: float, whole: float) -> int:
    """Rounded up, so that a share above a limit is above it; of nothing, nothing."""
    return 0 if part <= 0 else PPM if whole <= part else math.ceil(part * PPM / whole)


async def _top_up(context: Context, count: int) -> None:
    """Ask for the server's health so many times; only the sum is told in the evidence."""
    http, headers = context.target.http, {"User-Agent": user_agent(context)}

    async def ask(times: int) -> None:
        for _ in range(times):
            await http.get("/health", headers=headers)

    context.evidence.note(f"> GET /health, {count} times")
    shares = [count // TOP_UP_AT_ONCE + (one < count % TOP_UP_AT_ONCE) for one in range(TOP_UP_AT_ONCE)]
    try:
        await asyncio.gather(*map(ask, shares))
    except httpx.TransportError:
        raise Faulty("cut") from None


async def logs(context: Context) -> None:
    """Until the end of the run the server has told of no error."""
    await context.until_others_done()
    log = await read_log(context, context.number("window_s"))
    count = len(log.errors)
    context.measured.same("whole", True, log.ended or count > 0, "no-end")
    context.measured.number("error_events", count, samples=1 if log.ended or count else 0)


async def logs_private(context: Context) -> None:
    """Nothing that this run kept secret, and nothing of what it stored, is in the log."""
    await context.until_others_done()
    log = await read_log(context, context.number("window_s"))
    context.measured.same("whole", True, log.ended or log.lines > 0, "no-end")
    secrets = await asyncio.to_thread(context.run.redactor.scan, log.data)
    payloads = await asyncio.to_thread(payloads_in, log.data, context.run)
    # Secrets first: a token holds its user's DID as well.
    secrets.sort(key=lambda one: not one.startswith("[secret:"))
    found = [one.strip("[]").removeprefix("secret:") for one in secrets]
    # Where files of this machine are is no secret of anybody's.
    told = [f"logged:{one}" for one in found if not one.startswith("path:")]
    for reason in [*told, *(f"logged:payload:{one}" for one in payloads)]:
        context.say(reason)
        context.measured.same("private", "", reason, slug(*reason.split(":")))
    context.measured.same("private", 0, len(told) + len(payloads), "logged")
    context.measured.number("lines", log.lines)


async def watchdog(context: Context) -> None:
    """What is written is announced: the server's own proof of it is fresh, and took not long."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + context.number("first_proof_max_ms") / 1000
    while True:
        families = await read_metrics(context)
        proofs = families.sum("delivery_proofs")
        known = 1 <= proofs < math.inf and families.all("delivery_lag") and families.all("delivery_age")
        if known or loop.time() >= deadline_s:
            break
        await asyncio.sleep(POLL_S)
    show(context, families, "delivery_proofs", "delivery_lag", "delivery_age")
    samples = int(proofs) if known else 0
    for use, name in (("delivery_lag", "lag_ms"), ("delivery_age", "age_ms")):
        slowest_s = max((one.value for one in families.all(use)), default=0.0)
        value = math.ceil(slowest_s * 1000) if math.isfinite(slowest_s) else FOREVER_MS
        context.measured.number(name, value, samples=samples)


async def restarts_window(context: Context) -> None:
    """The processes that served when the run began serve at its end."""
    before = await read_metrics(context)
    await context.until_others_done()
    after = await read_metrics(context)
    for families in (before, after):
        show(context, families, "start_time")
    then, now = (
        {one.key: one.value for one in families.all("start_time") if math.isfinite(one.value)}
        for families in (before, after)
    )
    context.measured.no_samples("processes")
    for key in sorted(then.keys() | now.keys()):
        worker = dict(key).get("worker")
        reason = slug("restarted", *([worker] if worker else []))
        context.measured.same("processes", then.get(key), now.get(key), reason)


async def alerts(context: Context) -> None:
    """A test alert, named after the run, reaches whoever shall hear of it."""
    name = f"{ALERT}-{context.run.id.hex()[:8]}"
    try:
        done = await printed(context, "ALERT_PROBE_COMMAND", (name,), within_s=context.number("within_s"))
        told = list(done.json_lines()) if done.status == 0 else []
    except ValueError:
        raise Faulty("not-json") from None
    except Broken as broken:
        if broken.outcome.reason != TIMEOUT:
            raise
        told = []
    context.measured.same("received", [{"received": True}], told, "not-received")


PROCEDURES: Final[tuple[Procedure, ...]] = (
    Procedure(
        name="scrape",
        lane="observability",
        run=scrape,
        description="metrics can be read, hold what is looked at, and are not public",
        criteria=(Same("families"), Same("finite"), Same("private")),
        own_metrics=True,
    ),
    Procedure(
        name="errors-window",
        lane="observability",
        run=errors_window,
        description="few answers were errors from the beginning of the run to its end",
        criteria=(
            Same("counting"),
            AtMost("http_5xx_ppm", "http_5xx_max_ppm", "http-5xx"),
            AtMost("rpc_internal", "rpc_internal_max", "rpc-internal"),
            AtMost("refusals_ppm", "refusals_max_ppm", "handshakes-refused"),
        ),
        parameters={
            "http_5xx_max_ppm": Parameter(9_999, Looser.UP),
            "rpc_internal_max": Parameter(0, Looser.UP),
            "refusals_max_ppm": Parameter(30_000, Looser.UP),
            "requests_min": Parameter(200, Looser.DOWN),
        },
        own_metrics=True,
        place=Place.WINDOW,
    ),
    Procedure(
        name="logs",
        lane="observability",
        run=logs,
        description="the log tells of no error",
        criteria=(Same("whole"), AtMost("error_events", "errors_max", "error-events")),
        parameters={"window_s": Parameter(600, Looser.DOWN), "errors_max": Parameter(0, Looser.UP)},
        timeout_s=60,
        place=Place.WINDOW,
    ),
    Procedure(
        name="logs-private",
        lane="observability",
        run=logs_private,
        description="the log tells nothing of tokens, people and payloads",
        criteria=(Same("whole"), Same("private")),
        parameters={"window_s": Parameter(600, Looser.DOWN)},
        timeout_s=60,
        place=Place.WINDOW,
    ),
    Procedure(
        name="watchdog",
        lane="observability",
        run=watchdog,
        description="what is written is announced, as the server itself proves",
        criteria=(
            AtMost("lag_ms", "lag_max_ms", "late"),
            AtMost("age_ms", "age_max_ms", "stuck"),
        ),
        parameters={
            "lag_max_ms": Parameter(2_000, Looser.UP),
            "age_max_ms": Parameter(30_000, Looser.UP),
            "first_proof_max_ms": Parameter(25_000, Looser.UP),
        },
        own_metrics=True,
    ),
    Procedure(
        name="restarts-window",
        lane="observability",
        run=restarts_window,
        description="no process was started anew from the beginning of the run to its end",
        criteria=(Same("processes"),),
        own_metrics=True,
        place=Place.WINDOW,
    ),
    Procedure(
        name="alerts",
        lane="observability",
        run=alerts,
        description="a test alert arrives",
        criteria=(Same("received"),),
        parameters={"within_s": Parameter(120, Looser.UP)},
        timeout_s=180,
        inputs=("ALERT_PROBE_COMMAND",),
    ),
)
"""The rows of the lane."""
