"""What a target counts, read from its metrics: Prometheus' text format, bounded (docs/operations.md 13.1).

Checks name families by what they are for; a manifest may say what another server calls them.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from less_sync.validation.commands import printed
from less_sync.validation.inputs import InputProblem
from less_sync.validation.outcome import Blocked, Broken, Faulty, NotReached
from less_sync.validation.targets import bounded, system_trust

if TYPE_CHECKING:
    from less_sync.validation.context import Context

FAMILIES: Final[Mapping[str, str]] = {
    "requests": "less_sync_http_requests_total",
    "rpc": "less_sync_rpc_total",
    "refusals": "less_sync_handshake_refusals_total",
    "delivery_lag": "less_sync_delivery_lag_seconds",
    "delivery_age": "less_sync_delivery_proof_age_seconds",
    "delivery_proofs": "less_sync_delivery_proofs_total",
    "pool": "less_sync_db_pool_connections_max",
    "pool_open": "less_sync_db_pool_connections",
    "lanes": "less_sync_lanes",
    "build": "less_sync_build_info",
    "node": "less_sync_node_info",
    "start_time": "process_start_time_seconds",
}
"""By what the checks call them; docs/operations.md 13.1 has their labels."""
VARIABLES: Final[Mapping[str, str]] = {
    "staging": "STAGING_METRICS",
    "production": "PROD_METRICS",
    "incumbent": "INCUMBENT_METRICS",
    "candidate": "PROD_CANDIDATE_METRICS",
}
"""The beginnings of the variables that say where a target's metrics are."""
METRICS_BYTES_MAX: Final = 4 * 1024 * 1024
READ_S: Final = 10.0
TOKEN_HEADER: Final = "X-Admin-Token"
SHOWN_SERIES_MAX: Final = 40
"""Of one family, in the evidence."""


@dataclass(frozen=True, slots=True)
class Series:
    """One number, and what it is the number of."""

    labels: Mapping[str, str]
    value: float

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """By which it is found again in a later reading."""
        return tuple(sorted(self.labels.items()))


@dataclass(frozen=True, slots=True)
class Families:
    """One reading. A family that is declared and has counted nothing has no series, and is there."""

    series: Mapping[str, tuple[Series, ...]] = field(repr=False)
    """By the name that stands before the labels."""
    names: Mapping[str, str]
    """Of the families that checks read, by what they call them."""

    def has(self, use: str) -> bool:
        """Whether the family is declared, with series or without."""
        return self.names[use] in self.series

    def all(self, use: str, **labels: str) -> tuple[Series, ...]:
        """Its series with these labels; none when it is not there."""
        found = self.series.get(self.names[use], ())
        return tuple(one for one in found if all(one.labels.get(k) == v for k, v in labels.items()))

    def sum(self, use: str, **labels: str) -> float:
        """Of the values of these series; 0 without any."""
        return sum(one.value for one in self.all(use, **labels))


def parsed(text: str, names: Mapping[str, str]) -> Families:
    """Read the text.

    Raises:
        ValueError: it is not in Prometheus' format.
    """
    series: dict[str, list[Series]] = {}
    for family in text_string_to_metric_families(text):
        # The parser cuts the `_total` of a counter off the family's name, and leaves it at the samples'.
        series.setdefault(family.name, [])
        if family.type == "counter":
            series.setdefault(f"{family.name}_total", [])
        for sample in family.samples:
            one = Series(sample.labels, float(sample.value))
            series.setdefault(sample.name, []).append(one)
    return Families({name: tuple(found) for name, found in series.items()}, names)


async def read_metrics(context: "Context", target_name: str | None = None) -> Families:
    """The metrics of the check's target, or of another one: what its command prints, else what is answered.

    Raises:
        Blocked: `input:...`, neither is given.
        NotReached: nobody answered.
        Faulty: `status:N`, `deadline`, `cut`, `too-long`, or `not-metrics`.
        Broken: the command came to no result.
    """
    name = context.check.target if target_name is None else target_name
    target, variable = context.target_named(name), VARIABLES[name]
    if context.run.inputs.value(f"{variable}_COMMAND") is not None:
        done = await printed(context, f"{variable}_COMMAND", (), within_s=READ_S, show=False)
        if done.status != 0:
            raise Broken("command-status", done.status)
        text = done.text
    elif target.metrics_url is not None:
        token = await _token(context, f"{variable}_TOKEN")
        text = await _fetched(context, target.metrics_url, token, target.tls)
    else:
        raise Blocked("input", f"{variable}_URL")
    try:
        families = await asyncio.to_thread(parsed, text, dict(FAMILIES) | dict(context.run.manifest.metrics))
    except ValueError:
        raise Faulty("not-metrics") from None
    context.evidence.note(f"< metrics of {target.name}: {len(text)} characters, {_counted(families)}")
    return families


def show(context: "Context", families: Families, *uses: str) -> None:
    """Put the series of these families into the evidence."""
    lines = []
    for use in uses:
        found = families.all(use)
        told = [f"{families.names[use]}{dict(one.labels)} {one.value:.15g}" for one in found]
        lines += [
            *told[:SHOWN_SERIES_MAX],
            *([f"({len(told)} series)"] if len(told) > SHOWN_SERIES_MAX else []),
        ]
        if not found:
            lines.append(f"{families.names[use]}: {'no series yet' if families.has(use) else 'absent'}")
    context.evidence.note("\n".join(f"< {line}" for line in lines))


def _counted(families: Families) -> str:
    return f"{sum(map(len, families.series.values()))} series"


async def _token(context: "Context", variable: str) -> str | None:
    """What the listener wants to see beyond loopback. A command may take its time to print it."""
    try:
        token = await asyncio.to_thread(context.run.inputs.value, variable)
    except InputProblem:
        raise Blocked("input", variable) from None
    if token is not None:
        context.run.redactor.add(variable, token)
    return token


async def _fetched(context: "Context", url: str, token: str | None, tls: ssl.SSLContext | None) -> str:
    headers = {"Accept-Encoding": "identity"} | ({TOKEN_HEADER: token} if token else {})
    context.evidence.request("GET", httpx.URL(url).path, headers.items(), None)
    try:
        async with httpx.AsyncClient(
            verify=tls or system_trust(), trust_env=False, follow_redirects=False, timeout=READ_S
        ) as client:
            async with client.stream("GET", url, headers=headers) as response:
                content = await bounded(response, METRICS_BYTES_MAX)
    except httpx.ConnectError:
        raise NotReached("connect") from None
    except httpx.TimeoutException:
        raise Faulty("deadline") from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise Faulty("cut") from None
    if response.status_code != 200:
        raise Faulty("status", response.status_code)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Faulty("not-metrics") from None
