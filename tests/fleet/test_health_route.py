"""`GET /management/v1/health`, and what every answer has."""

import pytest

from tests.fleet.rig import Fleet

pytestmark = pytest.mark.anyio


async def test_health_needs_no_credentials_and_tells_the_version(fleet: Fleet) -> None:
    answer = await fleet.anonymous.get("/management/v1/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "healthy", "version": fleet.plane.version, "database": "ok"}


async def test_health_is_503_while_the_plane_drains(fleet: Fleet) -> None:
    fleet.plane.draining = True
    answer = await fleet.anonymous.get("/management/v1/health")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unhealthy",
        "version": fleet.plane.version,
        "database": "ok",
        "error": "shutting down",
    }


async def test_the_root_leads_to_the_pages(fleet: Fleet) -> None:
    answer = await fleet.anonymous.get("/")
    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")
