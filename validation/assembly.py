"""From a plan to a run that can begin: targets with their connections, and who speaks to them.

Every secret that is read or made here is told to the redactor before it is used.
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from less_sync.validation.inputs import VARIABLES, InputProblem, Inputs
from less_sync.validation.matrix import Manifest, TargetSpec
from less_sync.validation.metrics import VARIABLES as METRICS
from less_sync.validation.outcome import Blocked
from less_sync.validation.people import AUDIENCE, Minter, People, Person
from less_sync.validation.redact import Redactor
from less_sync.validation.rows import url_fault
from less_sync.validation.targets import Target
from less_sync.validation.tools import Tools

DATABASES = {
    "staging": "STAGING_DATABASE_URL",
    "production": "PROD_DATABASE_URL",
    "incumbent": "INCUMBENT_DATABASE_URL",
    "candidate": "PROD_DATABASE_URL",
}
"""The variable that gives each target's database: candidate and production share one."""
_SUFFIXES = {"owner": "", "member": "_MEMBER", "stranger": "_STRANGER"}


def register_secrets(inputs: Inputs, redactor: Redactor) -> None:
    """Tell the redactor what the operator gave: of a database's URL its password too."""
    for one in inputs.given.values():
        if one.secret and one.text:
            redactor.add(one.name, one.text)
        if VARIABLES[one.name].url:
            try:
                password = urlsplit(one.text).password
            except ValueError:
                password = None
            if password:
                redactor.add(f"{one.name}:password", password)


def target_of(spec: TargetSpec, inputs: Inputs, tools: Tools) -> Target:
    """One that the operator's own addresses lead to.

    Raises:
        InputProblem: the URL of its database, or of its metrics, is none.
    """
    name = DATABASES[spec.name]
    url = inputs.value(name)
    try:
        url = None if url is None else tools.driver_url(url)
    except ValueError as error:
        raise InputProblem(f"{name}: {error}") from None
    metrics = f"{METRICS[spec.name]}_URL"
    metrics_url = inputs.value(metrics)
    fault = "" if metrics_url is None else url_fault(metrics_url)
    if fault:
        raise InputProblem(f"{metrics}: {fault}")
    return Target(spec, spec.base_url, database_url=url, metrics_url=metrics_url)


def people_of(manifest: Manifest, inputs: Inputs, redactor: Redactor, scratch: Minter | None) -> People:
    """Who there is, by what was given.

    Args:
        scratch: the run's own issuer, whose tokens the servers take that the run starts.

    Raises:
        InputProblem: a key that was given is none.
    """
    minters: dict[str, Minter] = {}
    for name, spec in manifest.targets.items():
        if spec.scratch and scratch is not None:
            minters[name] = scratch
    issuer = inputs.value("STAGING_ISSUER")
    key = inputs.value("STAGING_ISSUER_KEY")
    if issuer and key:
        made = Minter(
            issuer,
            inputs.value("STAGING_ISSUER_KID") or "1",
            _key(key, "STAGING_ISSUER_KEY"),
            inputs.value("STAGING_AUDIENCE") or AUDIENCE,
            redactor.add,
        )
        minters |= {
            name: made
            for name in ("staging", "incumbent")
            if name in manifest.targets and not manifest.targets[name].scratch
        }
    return People(minters, _given(inputs, redactor))


def _given(inputs: Inputs, redactor: Redactor) -> Mapping[tuple[str, str], Person]:
    given: dict[tuple[str, str], Person] = {}
    for name, suffix in _SUFFIXES.items():
        person = _person(inputs, redactor, name, f"STAGING_ACCESS_TOKEN{suffix}", f"STAGING_USER_KEY{suffix}")
        if person is not None:
            given["staging", name] = given["incumbent", name] = person
    owner = _person(inputs, redactor, "owner", "PROD_ACCESS_TOKEN", "PROD_USER_KEY")
    if owner is not None:
        given["production", "owner"] = given["candidate", "owner"] = owner
    return given


def _person(inputs: Inputs, redactor: Redactor, name: str, token: str, key: str) -> Person | None:
    if token not in inputs.given:
        return None
    text = inputs.value(key) if key in inputs.given else None

    async def source() -> str:
        try:
            # A command may take its time; the checks of others go on meanwhile.
            value = await asyncio.to_thread(inputs.value, token)
        except InputProblem:
            raise Blocked("identity", name, "token") from None
        if value is None:
            raise Blocked("identity", name, "token")
        redactor.add(token, value)
        return value

    return Person(name, source, None if text is None else _key(text, key), redactor.add)


def _key(pem: str, name: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise InputProblem(f"{name} is no private key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputProblem(f"{name} is no P-256 key")
    return key
