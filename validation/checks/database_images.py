"""Whether what serves and what migrated are one build: else tables may be missing that the server needs.

An operator's command tells which image runs. Where server and migrations are one image anyway
(`one_image = true`), the recorded versions are compared with those of the running build instead.
"""

from typing import Final

from less_sync.migrations import load, recorded
from less_sync.validation.commands import IMAGE_PROBE, image_told
from less_sync.validation.context import Context
from less_sync.validation.metrics import read_metrics, show
from less_sync.validation.outcome import slug
from less_sync.validation.procedure import Procedure, Same
from less_sync.validation.queries import looking


async def images(context: Context) -> None:
    """The images of service and migrations agree, and the last migration succeeded with that one."""
    if context.run.inputs.value(IMAGE_PROBE) is None and context.run.manifest.one_image:
        await _one_image(context)
        return
    image, _ = await image_told(context, "service")
    job_image, _ = await image_told(context, "migrate")
    last_image, last = await image_told(context, "last-migration")
    measured = context.measured
    measured.same("image", image, job_image, slug("image", "migrate"))
    wanted = context.run.inputs.value("INCUMBENT_IMAGE" if _is_incumbent(context) else "CANDIDATE_IMAGE")
    if wanted is not None:
        measured.same("image", wanted, image, slug("image", "service"))
    measured.same("last-migration", True, last.get("succeeded"), "last-migration:failed")
    measured.same("last-migration", image, last_image, "last-migration:image")


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
        built = sorted({one.labels.get("version", "") for one in families.all("build")})
        measured.same("image", [context.run.candidate_version], built, "version-differs")
        measured.same("image", known, seen.versions, "versions")
    failed = [row.version for row in seen.shared if not row.success]
    measured.same("last-migration", [], failed, "last-migration:failed")


def _is_incumbent(context: Context) -> bool:
    """Before the switch production is what is to be replaced."""
    return context.check.target == "production" and context.run.stage == "before"


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
