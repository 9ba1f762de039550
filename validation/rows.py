"""From what a manifest declares to the rows of this run: which, required or not, and looking where. Pure.

The environment says only *where*: it gives addresses and inputs. Thresholds, `required` and times are the
manifest's, where the policy digest sees them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from less_sync.validation.inputs import Inputs
from less_sync.validation.manifest import TARGETS, Declared, ManifestErrors
from less_sync.validation.matrix import NO_TARGET, Check, Manifest, TargetSpec
from less_sync.validation.metrics import FAMILIES
from less_sync.validation.metrics import VARIABLES as METRICS

EXISTING_CONNECTIONS: Final = 3
"""Connections of one mailbox that an existing server allows."""


def manifest_of(declared: Declared, *, stage: str, inputs: Inputs, previous: bool) -> Manifest:
    """The matrix of this run.

    Args:
        previous: whether the release now in service can be started.

    Raises:
        ManifestErrors: an address is none, or a target without one may not be left out.
    """
    document = declared.raw
    kind = str(document["kind"])
    targets, problems = _targets(document, inputs, dict(declared.overrides))
    features = {"files": True, "federation": False, "rate_limits": True} | document.get("features", {})
    checks = [
        row
        for check in declared.checks
        if (not check.stages or stage in check.stages)
        and (row := _row(check, targets, features, inputs, previous=previous or kind != "selfhost"))
        is not None
    ]
    if problems:
        raise ManifestErrors(problems)
    owner = document.get("identities", {}).get("owner", {})
    return Manifest(
        kind=kind,
        name=document["name"],
        title=document["title"],
        valid_for_s=document["valid_for_s"],
        lanes=tuple(document.get("lanes", ())),
        features=features,
        references=document.get("references", {}),
        targets={name: one for name, one in targets.items() if one is not None},
        identities=document.get("identities", {}),
        metrics=dict(FAMILIES) | document.get("metrics", {}),
        acknowledged_losses=tuple(document.get("rollback", {}).get("acknowledged_losses", ())),
        one_image=bool(features.get("one_image")),
        checks=checks,
        production_space_exists=bool(owner.get("production_space_exists")),
    )


def _targets(
    document: Mapping[str, Any], inputs: Inputs, settings: Mapping[str, str]
) -> tuple[dict[str, TargetSpec | None], list[str]]:
    """Each declared one; None: it is optional, has no address, and so there is none of its rows."""
    targets: dict[str, TargetSpec | None] = {}
    problems: list[str] = []
    for name, table in document.get("targets", {}).items():
        variable = TARGETS[name]
        address = table.get("base_url", "")
        if f"targets.{name}.base_url" not in settings:
            address = inputs.value(variable) or address
        scratch = bool(table.get("scratch"))
        if scratch and address:
            problems.append(f"{variable} is set, and this kind starts that server itself")
        if address:
            fault = address_fault(address)
            if fault:
                problems.append(f"{variable}: {fault}")
        elif table.get("optional"):
            targets[name] = None
            continue
        official = table.get("canonical_host", "")
        if official and address_fault(f"https://{official}"):
            problems.append(f"targets.{name}.canonical_host: is no name of a host")
        server = table.get("server", "less-sync")
        targets[name] = TargetSpec(
            name=name,
            base_url=address.rstrip("/"),
            server=server,
            writes=table.get("writes", "none"),
            connections_per_mailbox=table.get(
                "connections_per_mailbox", 16 if server == "less-sync" else EXISTING_CONNECTIONS
            ),
            canonical_host=official,
            scratch=scratch,
            input=variable,
        )
    return targets, problems


def address_fault(address: str) -> str:
    """What is wrong with the address of a server; empty when nothing is."""
    fault = url_fault(address)
    if fault:
        return fault
    parts = urlsplit(address)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "must be scheme and host alone, without a path"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user or a password"
    return ""


def url_fault(url: str) -> str:
    """What is wrong with the URL of something that is to be asked for; empty when nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
        # As those who connect read it: a label that is too long ends in them in an error of its own.
        httpx.URL(url).host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        return "is no URL"
    if any(char.isspace() for char in url):
        return "is no URL"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must be http:// or https:// and a host"
    return ""


def _row(
    check: Check,
    targets: Mapping[str, TargetSpec | None],
    features: Mapping[str, bool],
    inputs: Inputs,
    *,
    previous: bool,
) -> Check | None:
    """The row as it is in this run, or None when there is none."""
    procedure = check.procedure
    target = targets.get(check.target)
    if check.target != NO_TARGET and target is None:
        return None
    if procedure.compatibility and not (target is not None and _elsewhere(target)):
        return None
    if procedure.own_metrics and target is not None and target.server != "less-sync":
        names = METRICS[target.name]
        if inputs.value(f"{names}_URL") is None and inputs.value(f"{names}_COMMAND") is None:
            return None
        check = replace(check, required=False)
    if procedure.offered and any(inputs.value(name) is None for name in procedure.inputs):
        check = replace(check, required=False)
    if check.feature and not features.get(check.feature, False):
        return replace(check, required=False, not_applicable=check.feature)
    if procedure.previous and not previous:
        return replace(check, required=False, not_applicable="previous")
    return check


def _elsewhere(target: TargetSpec) -> bool:
    """Whether it is looked at under another name than its official one."""
    return bool(target.canonical_host) and urlsplit(target.base_url).hostname != target.canonical_host
