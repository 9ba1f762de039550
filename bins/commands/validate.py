"""The group `validate`: the matrix that gates a release. What the commands need is imported when they run."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from less_sync.bins.commands.output import Watch
from less_sync.bins.installed import server_parts

EXITS = (
    "Exit codes: 0 GO or BASELINE, 1 NO-GO, 2 wrong usage, manifest or environment, 3 interrupted, "
    "4 evidence that cannot be trusted, 130 cut off."
)

DONE_OR_FAILED = "Exit codes: 0 done, 1 failed, 2 wrong usage."


class Stage(StrEnum):
    """On which side of the switch production is."""

    BEFORE = "before"
    AFTER = "after"


class Mode(StrEnum):
    """Whether the result decides."""

    GATE = "gate"
    BASELINE = "baseline"


Kind = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="Built-in manifest: selfhost, cutover, upgrade, rollback, decommission.",
        show_default="selfhost",
    ),
]
Backup = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="BACKUP_DIR: the backup to judge by, or a folder of them: the newest.",
        show_default=False,
    ),
]
Previous = Annotated[
    str | None,
    typer.Option(
        metavar="CMD",
        help="INCUMBENT_COMMAND: starts the release now in service, for the way back.",
        show_default=False,
    ),
]
ManifestFile = Annotated[
    Path | None,
    typer.Option(
        "--manifest", metavar="FILE", help="Own manifest instead of a built-in one.", show_default=False
    ),
]
StageOption = Annotated[Stage, typer.Option(help="Which side of the switch production is on.")]
ModeOption = Annotated[
    Mode | None,
    typer.Option(
        help="A gate decides, a baseline only records (FAIL_ON_REQUIRED_FAILURE).", show_default="gate"
    ),
]
Lanes = Annotated[
    list[str] | None,
    typer.Option("--lane", metavar="NAME", help="Only this lane; repeatable.", show_default=False),
]
Checks = Annotated[
    list[str] | None,
    typer.Option(
        "--check", metavar="ID", help="Only this check and what it needs; repeatable.", show_default=False
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value of the manifest by its path; repeatable.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Report folder, which must not exist.",
        show_default="docs/reports/NAME/TIMESTAMP of the work tree, else less-sync-reports/...",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Go on with an interrupted run: what passed is not run again.", show_default=False
    ),
]
Jobs = Annotated[int, typer.Option(min=1, max=16, metavar="N", help="How many checks run side by side.")]
RunId = Annotated[
    str | None,
    typer.Option(metavar="HEX32", help="Seed of all generated data, to repeat a run.", show_default="random"),
]
SignKey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Ed25519 seed to sign with (VALIDATION_SIGNING_KEY); made at first use.",
        show_default="in the user's configuration folder",
    ),
]
Commit = Annotated[
    bool, typer.Option("--commit", help="Commit the report in the work tree it lies in; never pushes.")
]
Accept = Annotated[
    str | None,
    typer.Option(
        metavar="SHA256",
        help="Accept a looser manifest than the built-in one, by its digest.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the decision alone.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours (also NO_COLOR).")]
Report = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a report.", show_default=False)]


def add_validate(app: typer.Typer) -> None:
    """Add the group to the umbrella command."""
    group = typer.Typer(
        name="validate",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.callback(invoke_without_command=True, epilog=EXITS)(run)
    group.command("run", epilog=EXITS)(run)
    group.command("preflight", epilog="Exit codes: 0 all is there, 1 something is missing, 2 wrong usage.")(
        preflight
    )
    group.command("list", epilog="Exit codes: 0 done, 2 wrong usage.")(list_checks)
    group.command("manifest", epilog="Exit codes: 0 done, 2 wrong usage.")(show_manifest)
    group.command("plant", epilog=DONE_OR_FAILED)(plant)
    group.command(
        "verify", epilog="Exit codes: 0 it is, 2 wrong usage, 5 it is not what it was asked to be."
    )(verify)
    group.command("render", epilog=DONE_OR_FAILED)(render)
    group.command("diff", epilog="Exit codes: 0 the same outcome, 1 another one, 2 wrong usage.")(diff)
    group.command("clean", epilog=DONE_OR_FAILED)(clean)
    group.command("keygen", epilog=DONE_OR_FAILED)(keygen)
    app.add_typer(group)


def run(
    context: typer.Context,
    *,
    kind: Kind = None,
    backup: Backup = None,
    previous: Previous = None,
    manifest: ManifestFile = None,
    stage: StageOption = Stage.BEFORE,
    mode: ModeOption = None,
    lane: Lanes = None,
    check: Checks = None,
    settings: Sets = None,
    out: Out = None,
    resume: Resume = None,
    jobs: Jobs = 4,
    run_id: RunId = None,
    sign_key: SignKey = None,
    commit: Commit = False,
    accept_policy: Accept = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Decide whether a release may take over.

    `less-sync validate --backup DIR` is the whole gate of one machine: it restores the newest backup, starts
    this release on copies of it, and looks at all that clients, operators and the way back rely on. The
    servers in service are not touched. Writes a signed report. What the answer means, check by check:
    docs/validation.md.
    """
    if context.invoked_subcommand is not None:
        sources = (context.get_parameter_source(name) for name in context.params)
        if any(source is not None and source.name != "DEFAULT" for source in sources):
            raise typer.BadParameter(f"give the options behind `{context.invoked_subcommand}`")
        return
    with server_parts("less-sync validate"):
        from less_sync.bins.commands import validate_work as work
        from less_sync.bins.commands.validate_output import Told
    # Output that is lost is no reason to lose the report as well.
    context.ensure_object(Watch).matters = False
    wishes = work.wishes_of(
        kind=kind,
        manifest=manifest,
        stage=stage,
        mode=mode,
        lanes=lane,
        checks=check,
        settings=settings,
        backup=backup,
        previous=previous,
        accept_policy=accept_policy,
    )
    asked = work.Way(
        out=out, resume=resume, jobs=jobs, run_id=work.run_id_of(run_id), sign_key=sign_key, commit=commit
    )
    raise typer.Exit(work.run(wishes, asked, Told(json=json, quiet=quiet, color=not no_color)))


def preflight(
    *,
    kind: Kind = None,
    backup: Backup = None,
    previous: Previous = None,
    manifest: ManifestFile = None,
    stage: StageOption = Stage.BEFORE,
    settings: Sets = None,
) -> None:
    """Say whether every required check can be tried."""
    with server_parts("less-sync validate preflight"):
        from less_sync.bins.commands import validate_work as work
    wishes = work.wishes_of(
        kind=kind, manifest=manifest, stage=stage, settings=settings, backup=backup, previous=previous
    )
    raise typer.Exit(work.preflight(wishes))


def list_checks(
    *,
    kind: Kind = None,
    manifest: ManifestFile = None,
    stage: StageOption = Stage.BEFORE,
    settings: Sets = None,
) -> None:
    """List the checks of a matrix."""
    with server_parts("less-sync validate list"):
        from less_sync.bins.commands import validate_work as work
    work.list_checks(work.wishes_of(kind=kind, manifest=manifest, stage=stage, settings=settings))


def show_manifest(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Of which kind.", show_default=False)],
) -> None:
    """Print a built-in manifest, to copy and change."""
    with server_parts("less-sync validate manifest"):
        from less_sync.bins.commands import validate_work as work
    work.show_manifest(kind)


def plant(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="staging, production or candidate.")],
    *,
    kind: Kind = None,
    manifest: ManifestFile = None,
    settings: Sets = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Write the data that later runs read back.

    Into the validation user's own space: 32 records, 4 deletions and, with files, one of 1 MiB. What is
    there already is not written again.
    """
    with server_parts("less-sync validate plant"):
        from less_sync.bins.commands import validate_work as work
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here: give --yes", param_hint="--yes")
    work.plant(work.wishes_of(kind=kind, manifest=manifest, settings=settings), target, yes=yes)


def verify(
    report: Report,
    *,
    require_go: Annotated[
        bool, typer.Option("--require-go", help="It has to be a GO that still holds, committed.")
    ] = False,
    trusted_keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keys whose signatures count.",
            show_default="TRUSTED_KEYS beside the reports of all names",
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option(metavar="SHA256", help="Take this policy as well.", show_default=False)
    ] = "",
    max_age: Annotated[
        int | None,
        typer.Option(min=1, metavar="SECONDS", help="How old it may be.", show_default="its own valid_for_s"),
    ] = None,
    candidate: Annotated[
        str,
        typer.Option(
            metavar="WHAT", help="What it has to be about: HEAD, a commit, a version.", show_default=False
        ),
    ] = "",
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="Of which kind it has to be.", show_default=False)
    ] = "",
    stage: Annotated[
        str, typer.Option(metavar="STAGE", help="Of which stage it has to be.", show_default=False)
    ] = "",
    live: Annotated[
        bool, typer.Option("--live", help="Look at the targets, by your own addresses: still the same?")
    ] = False,
) -> None:
    """Say whether a report is what it claims to be."""
    with server_parts("less-sync validate verify"):
        from less_sync.bins.commands import validate_reports as reports
    wanted = reports.Asked(
        require_go=require_go,
        trusted_keys=trusted_keys,
        policy=policy,
        max_age_s=max_age,
        candidate=candidate,
        kind=kind,
        stage=stage,
        live=live,
    )
    raise typer.Exit(reports.verify_report(report, wanted))


def render(report: Report) -> None:
    """Write a report's renderings anew."""
    with server_parts("less-sync validate render"):
        from less_sync.bins.commands import validate_reports as reports
    reports.render(report)


def diff(
    report: Report,
    other: Annotated[Path, typer.Argument(metavar="DIR", help="The later report.", show_default=False)],
) -> None:
    """Say what changed from one report to another."""
    with server_parts("less-sync validate diff"):
        from less_sync.bins.commands import validate_reports as reports
    raise typer.Exit(reports.diff(report, other))


def clean(report: Report, *, kind: Kind = None, manifest: ManifestFile = None, settings: Sets = None) -> None:
    """Delete what a run left behind on staging.

    Addresses, tokens and keys are taken from your environment, never from the report.
    """
    with server_parts("less-sync validate clean"):
        from less_sync.bins.commands import validate_work as work
    work.clean(report, work.wishes_of(kind=kind, manifest=manifest, settings=settings))


def keygen(sign_key: SignKey = None) -> None:
    """Make the key that signs reports; print its line."""
    with server_parts("less-sync validate keygen"):
        from less_sync.bins.commands import validate_work as work
    work.keygen(sign_key)
