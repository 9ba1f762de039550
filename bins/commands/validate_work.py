"""What `less-sync validate` does once the line is read: needs the libraries of the server."""

import asyncio
import getpass
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NoReturn, cast, get_args

import typer

from less_sync.bins.commands.database_options import environment_with
from less_sync.bins.commands.validate_output import Told
from less_sync.bins.commands.validate_output import told as told_of
from less_sync.bins.errors import CommandError, print_error
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.client.folder.errors import INTERRUPTED
from less_sync.client.folder.keyfile import default_key_path
from less_sync.validation import sentinel
from less_sync.validation.assembly import DATABASES, people_of
from less_sync.validation.attempt import Row, attempted
from less_sync.validation.attest import (
    KEY_FILE,
    EvidenceFault,
    SigningKey,
    kept_signing_key,
    parse_signing_key,
)
from less_sync.validation.catalogue import CATALOGUE
from less_sync.validation.compare import document_of
from less_sync.validation.decision import Exit
from less_sync.validation.index import append_index, index_line
from less_sync.validation.inputs import InputProblem, Inputs
from less_sync.validation.keeping import report_lock
from less_sync.validation.made import Kind, Made
from less_sync.validation.manifest import TARGETS, ManifestErrors, built_in, declared
from less_sync.validation.matrix import NO_TARGET, Check
from less_sync.validation.outcome import Broken, CheckEnd, Status
from less_sync.validation.people import People
from less_sync.validation.plan import Plan, Problems, Wishes, plan
from less_sync.validation.procedure import KINDS
from less_sync.validation.reading import NotAReport
from less_sync.validation.redact import Redactor
from less_sync.validation.reported import Asked, Ended, Hand, run_reported
from less_sync.validation.repository import GitFault, Repository
from less_sync.validation.results import Document, NotADocument
from less_sync.validation.running import looking, opened
from less_sync.validation.toml_text import manifest_text
from less_sync.validation.tools import Tools

USAGE: Final = 2
REPORTS: Final = Path("docs", "reports")
OUTSIDE: Final = Path("less-sync-reports")
"""Where reports go outside of a work tree."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Way:
    """The options of a run that change nothing about its outcome."""

    out: Path | None
    resume: Path | None
    jobs: int
    run_id: bytes
    sign_key: Path | None
    commit: bool


def run_id_of(text: str | None) -> bytes:
    """The id that was given, or a new one."""
    if text is None:
        return secrets.token_bytes(16)
    try:
        run_id = bytes.fromhex(text)
    except ValueError:
        run_id = b""
    if len(run_id) != 16:
        raise typer.BadParameter("a run's id is 32 hex digits", param_hint="--run-id")
    return run_id


def wishes_of(
    *,
    kind: str | None = None,
    manifest: Path | None = None,
    stage: str = "before",
    mode: str | None = None,
    lanes: Sequence[str] | None = None,
    checks: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    backup: str | None = None,
    previous: str | None = None,
    accept_policy: str | None = None,
) -> Wishes:
    """The options as a plan takes them."""
    given = {"BACKUP_DIR": backup, "INCUMBENT_COMMAND": previous}
    return Wishes(
        kind=kind,
        manifest=manifest,
        stage=str(stage),
        mode=None if mode is None else str(mode),
        lanes=tuple(lanes or ()),
        checks=tuple(checks or ()),
        settings=tuple(_pair(one) for one in settings or ()),
        variables={name: value for name, value in given.items() if value},
        accept_policy=accept_policy or "",
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--set")
    return key, value


def planned(
    wishes: Wishes, environment: Mapping[str, str], *, shown: bool = False, anything: bool = False
) -> Plan:
    """The plan; ends the command with every problem when there is none.

    Args:
        shown: for commands that only show the matrix: no secret is read.
        anything: what only a run needs may be missing.
    """
    try:
        return plan(wishes, environment, secrets=not shown, addresses=not (shown or anything))
    except Problems as problems:
        give_up(problems.problems)


def give_up(problems: Sequence[str]) -> NoReturn:
    """Tell them all; nothing was run."""
    for problem in problems:
        print_error(problem)
    raise typer.Exit(USAGE)


def list_checks(wishes: Wishes) -> None:
    """One line per row of the matrix as it would run."""
    made = planned(wishes, environment_with(), shown=True)
    print("check_id\tlane\ttarget\trequired\tprocedure\tneeds")
    for check in made.manifest.checks:
        required = "required" if check.required else "optional"
        needs = [*check.needs, *sorted(_inputs(check)), *check.procedure.capabilities]
        words = (check.id, check.lane, check.target, required, check.procedure.name, ", ".join(needs) or "-")
        print("\t".join(words))


def _inputs(check: Check) -> set[str]:
    return set(check.procedure.inputs)


def show_manifest(kind: str) -> None:
    """The built-in manifest of a kind, whole."""
    if kind not in KINDS:
        give_up([f"there is no kind {kind!r}; there are {', '.join(KINDS)}"])
    try:
        # Its references to addresses stay as they are: it is to be copied.
        made = declared(built_in(kind), f"{kind}.toml", catalogue=CATALOGUE, environment=_References())
    except ManifestErrors as errors:
        give_up(errors.problems)
    sys.stdout.write(manifest_text(made))


class _References(Mapping[str, str]):
    """Every variable stands for its own reference."""

    def __getitem__(self, name: str) -> str:
        return f"${{{name}}}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def preflight(wishes: Wishes) -> int:
    """Say of each required check what is missing; 0 if nothing is."""
    made = planned(wishes, environment_with())
    try:
        people = people_of(made.manifest, made.inputs, Redactor(), None)
    except InputProblem as problem:
        give_up([str(problem)])
    missing = 0
    for check in made.manifest.checks:
        lacks = lacking(check, made, people)
        if not check.required:
            continue
        missing += bool(lacks)
        print(f"{'missing' if lacks else 'ready':<8}{check.id}{': ' + ', '.join(lacks) if lacks else ''}")
    print(f"{missing} required checks would be blocked" if missing else "every required check can be tried")
    return 1 if missing else 0


def lacking(check: Check, made: Plan, people: People) -> list[str]:
    """What a check would be blocked for."""
    procedure = check.procedure
    lacks = [f"input:{name}" for name in procedure.inputs if made.inputs.value(name) is None]
    target = made.manifest.targets.get(check.target)
    if check.target == NO_TARGET or target is None or target.scratch:
        return lacks
    if not target.base_url:
        lacks.append(f"input:{target.input}")
    database = DATABASES[check.target]
    if procedure.database and made.inputs.value(database) is None:
        lacks.append(f"input:{database}")
    lacks += [
        f"identity:{'issuer:mint' if one == 'mint' else one}"
        for one in procedure.capabilities
        if not people.can(check.target, one)
    ]
    return lacks


def tools() -> Tools:
    """What of this installation a run makes use of."""
    return Tools(
        less_sync=(sys.executable, "-m", "less_sync.bins.commands.main"),
        version=version("less-sync"),
        postgres=_postgres,
        settings_folder=default_key_path().parent,
        driver_url=_driver_url,
        environment=environment_with(),
    )


def _driver_url(url: str) -> str:
    try:
        return driver_url(url)
    except DatabaseUrlError as error:
        raise ValueError(str(error)) from None


@asynccontextmanager
async def _postgres(folder: Path) -> AsyncIterator[str]:
    try:
        async with EmbeddedPostgres(folder) as postgres:
            yield postgres.url
    except EmbeddedPostgresError as error:
        raise Broken("postgres").saying(f"the private Postgres: {error}") from None


def signing_key(way: Path | None, inputs: Inputs) -> Callable[[], SigningKey]:
    """What a report is signed with: a file, a variable, or the user's own key, made at first use."""

    def key() -> SigningKey:
        text = inputs.value("VALIDATION_SIGNING_KEY")
        if way is None and text is not None:
            try:
                return parse_signing_key(text)
            except ValueError as error:
                raise EvidenceFault("not-signable", f"VALIDATION_SIGNING_KEY: {error}") from None
        return kept_signing_key(way or tools().settings_folder / KEY_FILE)

    return key


def reports_folder(name: str) -> tuple[Path, str]:
    """Where the reports of a name lie, and the same as a reader of the repository finds it."""
    try:
        root = Repository.around(Path.cwd(), environment_with()).root
    except GitFault:
        return OUTSIDE / name, ""
    return root / REPORTS / name, f"{REPORTS.as_posix()}/{name}"


def run(wishes: Wishes, way: Way, told: Told) -> int:
    """Run the matrix; the exit code."""
    made = planned(wishes, environment_with())
    parent, path = reports_folder(made.manifest.name)
    out = way.out or (Path(text) if (text := made.inputs.value("OUTPUT_DIR")) else None)
    if out is not None and out.exists():
        give_up([f"{out} exists: a report is written into a new folder"])
    if way.commit and (out is not None or not path):
        give_up(["--commit wants the report in the work tree: leave --out away, and run it in one"])
    try:
        # Before the run: it takes minutes, and what cannot be signed is no evidence.
        key = signing_key(way.sign_key, made.inputs)()
    except EvidenceFault as fault:
        print_error(f"{fault}; nothing was run: name another file by --sign-key")
        return int(Exit.EVIDENCE)
    asked = Asked(
        parent=parent,
        run_id=way.run_id,
        key=lambda: key,
        jobs=way.jobs,
        out=out,
        resume=way.resume,
        path="" if out is not None else path,
    )
    indexed = (out is None and way.resume is None) or (way.resume is not None and way.resume.parent == parent)
    hand = Hand()
    try:
        with report_lock(parent if out is None else out.parent), _signals(hand):
            ended = asyncio.run(_run(made, asked, told, hand))
            folder = ended.finished.folder
            if indexed:
                line = index_line(
                    ended.finished.document, folder.name, ended.finished.report_digest, ended.finished.keyid
                )
                index = append_index(parent, line)
                if way.commit:
                    _commit([folder, index], ended)
    except BlockingIOError:
        give_up([f"another run writes reports in {parent if out is None else out.parent}"])
    except (InputProblem, NotAReport, CheckEnd) as problem:
        give_up([str(problem)])
    except FileExistsError:
        give_up([f"{out} exists: a report is written into a new folder"])
    except asyncio.CancelledError:
        print_error("cut off: what there is of the report is that of an aborted run")
        return INTERRUPTED
    except EvidenceFault as fault:
        print_error(f"{fault}: the report cannot be trusted")
        return int(Exit.EVIDENCE)
    for secret in ended.finished.secrets_found:
        print_error(f"a secret was found in the report, and left out of it: {secret}")
    line_told = told_of(ended.decision, ended.rows, narrowed=made.narrowed)
    told.decision(ended.decision, line_told, str(_near(folder)), ended.finished.report_digest, ended.notes)
    return told.over(int(ended.decision.exit))


def _near(folder: Path) -> Path:
    """A path as somebody here would type it."""
    try:
        return folder.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        return folder


async def _run(made: Plan, asked: Asked, told: Told, hand: Hand) -> Ended:
    hand.loop = asyncio.get_running_loop()
    with told:
        told.doing("getting ready")
        hand.listening = lambda: told.doing("checks", len(made.manifest.checks))
        return await run_reported(made, asked, tools(), hear=told.row, hand=hand)


@contextmanager
def _signals(hand: Hand) -> Iterator[None]:
    """The first signal lets checks come to an end, the second one cuts them off.

    Not by the loop's own handlers, which are gone before the report has its line in the index. A hang-up is
    one of them, unless it is ignored already, as behind `nohup`.
    """
    former = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        for number in _SIGNALS:
            if former[number] is not signal.SIG_IGN:
                signal.signal(number, lambda *_: hand.signalled())
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, former[number])


def _commit(paths: Sequence[Path], ended: Ended) -> None:
    """Commit the report and its line of the index, and nothing else."""
    document = ended.finished.document
    try:
        repository = Repository.around(paths[0], environment_with())
        repository.commit(paths, f"Report {document.decision} of {document.name} {paths[0].name}")
    except GitFault as fault:
        print_error(f"the report was not committed: {fault}")


def plant(wishes: Wishes, target: str, *, yes: bool) -> None:
    """Write the sentinel into the owner's own space of a target.

    Raises:
        CommandError: it is refused.
    """
    made = planned(wishes, environment_with(), anything=True)
    if target not in made.manifest.targets:
        give_up([f"{TARGETS[target]} is not set" if target in TARGETS else f"there is no target {target!r}"])
    address = made.manifest.targets[target].base_url
    if not yes:
        typer.confirm(f"Write into the validation user's own space at {address}?", abort=True)
    asyncio.run(_plant(made, target))


async def _plant(made: Plan, target: str) -> None:
    try:
        nothing = replace(made, selected=frozenset())
        async with opened(nothing, secrets.token_bytes(16), tools(), Redactor()) as run:
            planted = await sentinel.plant(looking(run.run, target))
    except CheckEnd as end:
        raise CommandError(f"cannot plant: {end}") from None
    except InputProblem as problem:
        give_up([str(problem)])
    written = f"{planted.written} things written" if planted.written else "everything was there already"
    print(f"planted in space {planted.space}: {written}")


def document_or_exit(folder: Path) -> Document:
    """The document of a report; ends the command when it has none that can be read."""
    try:
        return document_of(folder)
    except (NotAReport, NotADocument) as error:
        give_up([f"{folder}: {error}"])


def clean(report: Path, wishes: Wishes) -> None:
    """Delete what a run left behind, as far as the keys that are given reach.

    Args:
        wishes: without a kind, that of the report.

    Raises:
        CommandError: something is still live.
    """
    document = document_or_exit(report)
    if not document.left_behind:
        print("nothing of the run is left")
        return
    named = wishes.kind is not None or wishes.manifest is not None
    made = planned(
        wishes if named else replace(wishes, kind=document.kind), environment_with(), anything=True
    )
    lists: dict[str, list[Made]] = {}
    for one in document.left_behind:
        if one.kind not in get_args(Kind):
            give_up([f"{report}: there is nothing of the kind {one.kind!r} to clean"])
        lists.setdefault(one.target, []).append(Made(cast(Kind, one.kind), one.person, one.id, one.space))
    try:
        rows = asyncio.run(_clean(made, bytes.fromhex(document.run.id), lists))
    except (CheckEnd, InputProblem) as problem:
        give_up([str(problem)])
    for row in rows:
        for line in row.lines:
            print(f"{row.check.target}: {line}")
    live = [row.check.target for row in rows if row.outcome.status is not Status.PASSED]
    if live:
        raise CommandError(f"something of the run is still live at {', '.join(live)}")
    print("nothing of the run is live; empty spaces cannot be deleted by the protocol")


async def _clean(made: Plan, run_id: bytes, lists: Mapping[str, list[Made]]) -> list[Row]:
    """The row of the check that cleans up, of each target."""
    async with opened(replace(made, selected=frozenset()), run_id, tools(), Redactor()) as run:
        run.run.made = dict(lists)
        procedure = CATALOGUE["cleanup"]
        checks = [
            replace(looking(run.run, target).check, id="clean", procedure=procedure) for target in lists
        ]
        return [await attempted(check, run.run) for check in checks]


def keygen(path: Path | None) -> None:
    """Make the signing key unless it is there, and print its line for TRUSTED_KEYS."""
    try:
        key = kept_signing_key(path or tools().settings_folder / KEY_FILE)
    except EvidenceFault as fault:
        raise CommandError(str(fault)) from None
    print(key.trusted_line(f"{getpass.getuser()}, {datetime.now(UTC):%Y-%m-%d}"))
