"""What is forgotten, when, and how much at a time."""

import pytest

from less_sync.fleet.plane import Plane
from less_sync.fleet.settings import RetentionSettings
from less_sync.fleet.workers.retention import BATCH_ROWS, KEPT, Retention
from tests.fleet.rig import Fleet

AGENT = """
INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version, heartbeat_interval_seconds,
                    token_hash)
VALUES ('00000000-0000-4000-8000-000000000001', gen_random_uuid(), 'a', 'sync', 'linux', 'amd64', '1.0.0', 60,
        sha256('a'))"""
HEARTBEATS = """
INSERT INTO heartbeats (agent_id, received_at, sequence, boot_id, version, report)
SELECT '00000000-0000-4000-8000-000000000001', now() - make_interval(days => days) + n * interval '1 ms', n,
       gen_random_uuid(), '1.0.0', '{}'
FROM unnest($1::int[]) AS days, generate_series(1, $2::int) AS n"""
DELIVERIES = """
WITH hook AS (
  INSERT INTO webhooks (id, url, events, secret) VALUES (gen_random_uuid(), 'https://example.com/', '{*}', '')
  RETURNING id),
event AS (
  INSERT INTO webhook_events (id, type, payload, created_at)
  SELECT days || status, 't', '', now() - make_interval(days => days)
  FROM unnest(ARRAY[29, 31]) AS days, unnest(ARRAY['delivered', 'dead', 'pending', 'none']) AS status
  RETURNING id, created_at)
INSERT INTO webhook_deliveries (id, webhook_id, event_id, status, created_at, completed_at)
SELECT gen_random_uuid(), hook.id, event.id, substr(event.id, 3), created_at,
       CASE WHEN event.id NOT LIKE '%pending' THEN created_at END
FROM hook, event WHERE event.id NOT LIKE '%none'"""
ATTEMPTS = """
INSERT INTO webhook_attempts (delivery_id, attempt, duration_ms)
SELECT id, 1, 1 FROM webhook_deliveries"""
ALERTS = """
INSERT INTO alerts (id, kind, severity, subject_type, subject_id, title, status, raised_at, resolved_at)
SELECT gen_random_uuid(), status || days, 'info', 'agent', 'a', 't', status,
       now() - make_interval(days => days),
       CASE WHEN status = 'resolved' THEN now() - make_interval(days => days) END
FROM unnest(ARRAY[89, 91]) AS days, unnest(ARRAY['open', 'resolved']) AS status"""
SESSIONS = """
WITH one AS (
  INSERT INTO operators (id, username, password_hash, role) VALUES (gen_random_uuid(), 'eve', 'x', 'admin')
  RETURNING id)
INSERT INTO operator_sessions (token_hash, operator_id, last_seen_at, expires_at)
SELECT sha256(name::bytea), one.id, now() - idle, now() + left_ FROM one, (VALUES
  ('live', interval '59 min', interval '1 min'), ('idle', interval '61 min', interval '1 hour'),
  ('ended', interval '0', interval '-1 s')) AS kinds (name, idle, left_)"""
TOKENS = """
INSERT INTO enrolment_tokens (id, token_hash, label, max_uses, expires_at, revoked_at, created_by)
SELECT gen_random_uuid(), sha256(label::bytea), label, 1, now() + left_, now() - revoked, 'x' FROM (VALUES
  ('live', interval '1 day', null), ('expired', interval '-6 days', null), ('old', interval '-8 days', null),
  ('revoked', interval '1 day', interval '6 days'), ('long revoked', interval '1 day', interval '8 days')
) AS kinds (label, left_, revoked)"""


async def forgotten(plane: Plane) -> int:
    """Run once; how many batches it took."""
    worker, batches = Retention(), 1
    while await worker.step(plane):
        batches += 1
    return batches


async def column(fleet: Fleet, query: str) -> list[object]:
    return [next(iter(row.values())) for row in await fleet.rows(query)]


async def test_each_kind_for_as_long_as_it_is_kept(fleet: Fleet) -> None:
    await fleet.execute(AGENT)
    await fleet.execute(HEARTBEATS, [6, 8], 2)
    for statement in (DELIVERIES, ATTEMPTS, ALERTS, SESSIONS, TOKENS):
        await fleet.execute(statement)
    await fleet.execute(
        "INSERT INTO audit_log (at, actor, action, subject_type, subject_id, request_id, prev_hash, hash)"
        " VALUES (now() - interval '10 years', 'x', 'x', 'x', 'x', gen_random_uuid(), '', '')"
    )
    assert await forgotten(fleet.plane) == len(KEPT)
    assert await column(fleet, "SELECT now()::date - received_at::date FROM heartbeats") == [6, 6]
    assert await column(fleet, "SELECT event_id FROM webhook_deliveries ORDER BY event_id") == [
        *("29dead", "29delivered", "29pending", "31pending"),
    ]
    assert await column(fleet, "SELECT count(*) FROM webhook_attempts") == [4]
    assert await column(fleet, "SELECT id FROM webhook_events ORDER BY id") == [
        *("29dead", "29delivered", "29none", "29pending", "31pending"),
    ]
    assert await column(fleet, "SELECT kind FROM alerts ORDER BY kind") == ["open89", "open91", "resolved89"]
    assert await column(fleet, "SELECT token_hash = sha256('live') FROM operator_sessions") == [True]
    assert await column(fleet, "SELECT label FROM enrolment_tokens ORDER BY label") == [
        *("expired", "live", "revoked"),
    ]
    assert await column(fleet, "SELECT count(*) FROM audit_log") == [1]


async def test_a_batch_has_a_thousand_rows_and_a_step_one_batch(fleet: Fleet) -> None:
    await fleet.execute(AGENT)
    await fleet.execute(HEARTBEATS, [8], 2 * BATCH_ROWS + 1)
    worker = Retention()
    for left in (BATCH_ROWS + 1, 1, 0):
        assert await worker.step(fleet.plane)
        assert await fleet.value("SELECT count(*) FROM heartbeats") == left


async def test_one_instance_runs_and_not_before_it_is_due(fleet: Fleet) -> None:
    await fleet.execute(AGENT)
    assert await forgotten(fleet.plane) == len(KEPT)
    await fleet.execute(HEARTBEATS, [8], 1)
    other = fleet.use()
    for plane in (fleet.plane, other):
        assert not await Retention().step(plane)
    assert await fleet.value("SELECT count(*) FROM heartbeats") == 1
    await fleet.execute("UPDATE worker_state SET last_run_at = now() - interval '10 min'")
    await forgotten(other)
    assert await fleet.value("SELECT count(*) FROM heartbeats") == 0


@pytest.mark.parametrize(("days", "left"), [(1, 0), (9, 1)])
async def test_operator_says_how_long(fleet: Fleet, days: int, left: int) -> None:
    await fleet.execute(AGENT)
    await fleet.execute(HEARTBEATS, [8], 1)
    await forgotten(fleet.use(retention=RetentionSettings(heartbeat_days=days)))
    assert await fleet.value("SELECT count(*) FROM heartbeats") == left
