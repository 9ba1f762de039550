"""Whether what serves and what migrated are one build: else tables may be missing that the server needs.

An operator's command tells which image runs. Where server and migrations are one image anyway
(`one_image = true`), the recorded versions are compared with those of the running build instead.
"""

import json
from importlib.metadata import version
from typing import Any, Final

from less_sync.migrations import load, recorded
from less_sync.validation.commands import printed
from less_sync.validation.context import Context
from less_sync.validation.metrics import read_metrics, show
from less_sync.validation.outcome import Broken, slug
from less_sync.validation.procedure import Procedure, Same
from less_sync.validation.queries import looking

COMMAND: Final = "IMAGE_PROBE_COMMAND"


async def images(context: Context) -> None:
    """The images of service and migrations agree, and the last migration succeeded with that one."""
    if context.run.inputs.value(COMMAND) is None and context.run.manifest.one_image:
        await _one_image(context)
        return
    service = await _told(context, "service")
    job = await _told(context, "migrate")
    last = await _told(context, "last-migration")
    image = _image(service)
    measured = context.measured
    measured.same("image", image, _image(job), slug("image", "migrate"))
    wanted = context.run.inputs.value("INCUMBENT_IMAGE" if _is_incumbent(context) else "CANDIDATE_IMAGE")
    if wanted is not None:
        measured.same("image", wanted, image, slug("image", "service"))
    measured.same("last-migration", True, last.get("succeeded"), "last-migration:failed")
    measured.same("last-migration", image, _image(last), "last-migration:image")


async def _one_image(context: Context) -> None:
    """The running build is known by its metrics, and recorded is what that build has migrations for."""
    measured = context.measured
    async with looking(context) as look:
        seen = await recorded(look.connection)
    context.evidence.note(f"recorded versions: {seen.versions}")
    known = list(load())
    if _is_incumbent(context):
        # Which migrations an older build has is not known here: only that it starts on no others.
        measured.same("image", [], [one for one in seen.versions if one not in known], "versions")
    else:
        families = await read_metrics(context)
        show(context, families, "build")
        wanted = context.run.inputs.value("CANDIDATE_VERSION") or version("less-sync")
        built = sorted({one.labels.get("version", "") for one in families.all("build")})
        measured.same("image", [wanted], built, "version-differs")
        measured.same("image", known, seen.versions, "versions")
    failed = [row.version for row in seen.shared if not row.success]
    measured.same("last-migration", [], failed, "last-migration:failed")


def _is_incumbent(context: Context) -> bool:
    """Before the switch production is what is to be replaced."""
    return context.check.target == "production" and context.run.stage == "before"


async def _told(context: Context, what: str) -> dict[str, Any]:
    done = await printed(context, COMMAND, (what, context.check.target))
    if done.status != 0:
        raise Broken("command-status", what)
    try:
        told = json.loads(done.text)
    except ValueError:
        raise Broken("command-output", what) from None
    if not isinstance(told, dict):
        raise Broken("command-output", what)
    return told


def _image(told: dict[str, Any]) -> str:
    """Raises Broken `no-image`: nothing is like nothing."""
    image = told.get("image")
    if not isinstance(image, str) or not image:
        raise Broken("no-image")
    return image


PROCEDURES: Final[tuple[Procedure, ...]] = (
    Procedure(
        name="image-agreement",
        lane="database",
        run=images,
        description="server and migrations are one image, and the last migration succeeded",
        criteria=(Same("image"), Same("last-migration")),
        timeout_s=60,
    ),
)
"""The row about builds."""
