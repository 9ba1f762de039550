"""Real servers to look at, and single checks that look: `await rig.outcome("health", target="staging")`.

Two `less-sync serve` processes, on a database each, started once a session: one plays `staging` and
`candidate`, the other `production` and `incumbent`. Before each of these four targets stands a fault proxy of
its own. Both servers trust the run's issuer, so that any token can be made, right or wrong; each run's people
are new ones.
"""

import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from less_sync.bins.postgres.urls import driver_url
from less_sync.validation import checks
from less_sync.validation.attempt import Row, attempted
from less_sync.validation.context import Run
from less_sync.validation.inputs import Input, Inputs
from less_sync.validation.matrix import NO_TARGET, Check, Manifest, TargetSpec
from less_sync.validation.metrics import FAMILIES
from less_sync.validation.outcome import Outcome
from less_sync.validation.people import AUDIENCE, SCRATCH_ISSUER, Minter, People, Person, served_key_set
from less_sync.validation.procedure import Procedure, Value
from less_sync.validation.redact import Redactor
from less_sync.validation.scratch import Scratch
from less_sync.validation.targets import Target
from tests.integration.waiting import until
from tests.validation.proxy import FaultProxy
from tests.wire.process import ServerProcess

TARGETS: Final = {
    "staging": "STAGING_BASE_URL",
    "incumbent": "STAGING_INCUMBENT_BASE_URL",
    "production": "PROD_BASE_URL",
    "candidate": "PROD_CANDIDATE_BASE_URL",
}
SERVER_OF: Final = {
    "staging": "staging",
    "candidate": "staging",
    "production": "production",
    "incumbent": "production",
}
ADMIN: Final = re.compile(r"\badmin .* address=127\.0\.0\.1:(\d+)")
IDENTITY_HASH_KEY: Final = "5a" * 32
SOON: Final = {"LIMIT_INVITATION_DELAY_MIN_S": "0.1", "LIMIT_INVITATION_DELAY_MAX_S": "0.2"}
"""So that invitations are told of while a test looks."""
FEATURES: Final = {"files": True, "federation": False, "rate_limits": False}


@dataclass(frozen=True, slots=True)
class RunMinter(Minter):
    """The issuer of one run: its users are nobody else's, so that no run meets the rows of another."""

    run: str = ""

    def claims(self, user: str, *, did: str) -> dict[str, Any]:
        """As `Minter.claims`."""
        return Minter.claims(self, f"{user}.{self.run}", did=did)


@dataclass(slots=True)
class Server:
    """A running `less-sync serve`, and its database."""

    database_url: str = field(repr=False)
    process: ServerProcess
    data_dir: Path
    admin_port: int

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return self.process.port

    @property
    def metrics_url(self) -> str:
        """Of its admin listener."""
        return f"http://127.0.0.1:{self.admin_port}/metrics"

    @asynccontextmanager
    async def without_database(self) -> AsyncIterator[None]:
        """Let nobody connect to its database, and end who is connected, until the block ends."""
        name = urlsplit(self.database_url).path.removeprefix("/")
        elsewhere = urlunsplit(urlsplit(self.database_url)._replace(path="/postgres"))
        connection = await asyncpg.connect(driver_url(elsewhere), statement_cache_size=0)
        try:
            await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
            )
            yield
        finally:
            await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await connection.close()

    async def sql(self, statement: str, *args: object) -> list[Any]:
        """Run one statement in its database and return the rows."""
        connection = await asyncpg.connect(driver_url(self.database_url), statement_cache_size=0)
        try:
            return list(await connection.fetch(statement, *args))
        finally:
            await connection.close()


@dataclass(slots=True)
class Rig:
    """The servers, the proxies before them, and what runs are made of."""

    key_set_url: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    folder: Path
    servers: dict[str, Server]
    """`staging` and `production`."""
    proxies: dict[str, FaultProxy]
    """By target."""
    runs: list[Run] = field(default_factory=list)

    def proxy(self, target: str = "staging") -> FaultProxy:
        """The proxy before a target: where its faults are made."""
        return self.proxies[target]

    def server(self, target: str = "staging") -> Server:
        """The server behind a target."""
        return self.servers[SERVER_OF[target]]

    def minter(self, run_id: bytes) -> RunMinter:
        """An issuer that both servers trust."""
        return RunMinter(SCRATCH_ISSUER, "1", self.key, run=run_id.hex()[:8])

    def run(
        self,
        *,
        kind: str = "cutover",
        stage: str = "before",
        features: Mapping[str, bool] = {},
        specs: Mapping[str, Mapping[str, Any]] = {},
        inputs: Mapping[str, str] = {},
        given: Mapping[tuple[str, str], Person] | None = None,
        addresses: Mapping[str, str] = {},
        tls: Mapping[str, ssl.SSLContext] = {},
        without: Sequence[str] = (),
        run_id: bytes | None = None,
        **manifest: Any,
    ) -> Run:
        """What the checks of a run share. Closed when the test ends.

        Args:
            features: declared otherwise than `FEATURES`.
            specs: fields of `TargetSpec` by target that differ.
            inputs: variables by name.
            given: people by (target, name), in place of an issuer that mints them all.
            addresses: by target, in place of its proxy's; "": without one.
            tls: by target, what it is trusted by.
            without: of each target, `database` or `metrics`.
            manifest: fields of `Manifest` that differ.
        """
        run_id = os.urandom(16) if run_id is None else run_id
        urls = {name: proxy.url for name, proxy in self.proxies.items()} | dict(addresses)
        targets = {}
        for name, variable in TARGETS.items():
            spec = TargetSpec(
                name,
                urls[name],
                writes="throwaway" if name in ("staging", "incumbent") else "none",
                input=variable,
            )
            spec = replace(spec, **specs.get(name, {}))
            server = self.server(name)
            targets[name] = Target(
                spec,
                urls[name],
                None if "database" in without else driver_url(server.database_url),
                None if "metrics" in without else server.metrics_url,
                tls=tls.get(name),
            )
        redactor = Redactor()
        minter = replace(self.minter(run_id), told=redactor.add)
        minters = dict.fromkeys(TARGETS, minter) if given is None else {}
        made = Run(
            id=run_id,
            kind=kind,
            stage=stage,
            manifest=self._manifest(kind, features, targets, manifest),
            inputs=Inputs({name: Input(name, "env", text) for name, text in inputs.items()}),
            redactor=redactor,
            scratch=Scratch(),
            people=People(minters, given or {}),
            targets={name: one for name, one in targets.items() if urls[name]},
        )
        self.runs.append(made)
        return made

    def _manifest(
        self,
        kind: str,
        features: Mapping[str, bool],
        targets: Mapping[str, Target],
        changes: Mapping[str, Any],
    ) -> Manifest:
        plain = Manifest(
            kind=kind,
            name="rig",
            title="The rig of the tests",
            valid_for_s=14_400,
            lanes=(),
            features=FEATURES | dict(features),
            references={},
            targets={name: one.spec for name, one in targets.items()},
            identities={},
            metrics=dict(FAMILIES),
            acknowledged_losses=(),
            one_image=False,
            checks=(),
        )
        return replace(plain, **changes)

    async def row(
        self,
        name: str | Procedure,
        *,
        target: str = "staging",
        parameters: Mapping[str, Value] = {},
        run: Run | None = None,
        now: datetime | None = None,
        **of_run: Any,
    ) -> Row:
        """Run one check and judge it.

        Args:
            target: `none` for a procedure without.
            parameters: those that differ from the defaults.
            run: the one that it is a check of; without it a new one, made of `of_run` (see `Rig.run`).
        """
        procedure = name if isinstance(name, Procedure) else procedure_named(name)
        assert parameters.keys() <= procedure.parameters.keys(), parameters
        check = check_of(procedure, target, parameters)
        run = self.run(**of_run) if run is None else run
        return await attempted(check, run, now=lambda: now or datetime.now(UTC))

    async def outcome(self, name: str | Procedure, **arguments: Any) -> Outcome:
        """As `row`: its status and reason."""
        return (await self.row(name, **arguments)).outcome

    async def build_version(self) -> str:
        """What both servers say that they are."""
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(self.server().metrics_url)).text
        found = re.search(r'less_sync_build_info\{[^}]*\bversion="([^"]+)"', text)
        assert found is not None, text
        return found[1]

    @asynccontextmanager
    async def one_for_both(self) -> AsyncIterator[None]:
        """Let staging's server be production's as well."""
        before = self.servers["production"]
        self._lead("production", self.servers["staging"])
        try:
            yield
        finally:
            self._lead("production", before)

    @asynccontextmanager
    async def beside(
        self, target: str = "staging", *, database_url: str = "", **settings: str
    ) -> AsyncIterator[Server]:
        """Another server on a target's database or another, with other settings: the proxies lead to it."""
        name = SERVER_OF[target]
        before = self.servers[name]
        folder = self.folder / os.urandom(4).hex()
        url = database_url or before.database_url
        async with served(url, folder, self.key_set_url, settings) as server:
            self._lead(name, server)
            try:
                yield server
            finally:
                self._lead(name, before)

    def _lead(self, name: str, server: Server) -> None:
        self.servers[name] = server
        for target, proxy in self.proxies.items():
            if SERVER_OF[target] == name:
                proxy.target = server.port

    async def mend(self) -> None:
        """Take all faults back, and close what the runs of a test opened."""
        for proxy in self.proxies.values():
            proxy.mend()
            proxy.forget()
            proxy.cut()
        for run in self.runs:
            for target in run.targets.values():
                await target.close()
        self.runs.clear()


def check_of(procedure: Procedure, target: str, parameters: Mapping[str, Value] = {}) -> Check:
    """The row of a procedure, required, with these parameters in place of its defaults."""
    return Check(
        id="-".join((procedure.lane, *(() if target == NO_TARGET else (target,)), procedure.name)),
        lane=procedure.lane,
        procedure=procedure,
        target=target,
        required=True,
        parameters={name: one.default for name, one in procedure.parameters.items()} | dict(parameters),
        timeout_s=procedure.timeout_s,
        description=procedure.description,
        exclusive=tuple(procedure.exclusive),
    )


def procedure_named(name: str) -> Procedure:
    """A procedure of any lane, whether the catalogue lists its lane or not."""
    for module in iter_modules(checks.__path__, f"{checks.__name__}."):
        for procedure in getattr(import_module(module.name), "PROCEDURES", ()):
            if procedure.name == name:
                found: Procedure = procedure
                return found
    raise LookupError(name)


@asynccontextmanager
async def served(
    database_url: str, data_dir: Path, key_set_url: str, settings: Mapping[str, str] = {}
) -> AsyncIterator[Server]:
    """A server with files and an admin listener that trusts the run's issuer."""
    variables = {
        "DATABASE_URL": database_url,
        "DATA_DIR": str(data_dir),
        "TRUSTED_ISSUERS": f"{SCRATCH_ISSUER}={key_set_url}",
        "AUDIENCES": AUDIENCE,
        "FILE_STORAGE_BACKEND": "local",
        "ADMIN_ADDR": "127.0.0.1:0",
        **settings,
    }
    async with ServerProcess({name: value for name, value in variables.items() if value}) as process:

        async def told() -> bool:
            return ADMIN.search("\n".join(process.output)) is not None

        await until(told)
        found = ADMIN.search("\n".join(process.output))
        assert found is not None
        yield Server(database_url, process, data_dir, int(found[1]))


@asynccontextmanager
async def rig(databases: Mapping[str, str], folder: Path) -> AsyncIterator[Rig]:
    """The servers on these migrated databases, `staging` and `production`, until the block ends."""
    key = ec.generate_private_key(ec.SECP256R1())
    async with AsyncExitStack() as stack:
        key_set_url = await stack.enter_async_context(served_key_set(Minter(SCRATCH_ISSUER, "1", key)))
        servers = {
            name: await stack.enter_async_context(served(url, folder / name, key_set_url, SOON))
            for name, url in databases.items()
        }
        proxies = {
            target: await stack.enter_async_context(FaultProxy(servers[name].port))
            for target, name in SERVER_OF.items()
        }
        yield Rig(key_set_url, key, folder, servers, proxies)
