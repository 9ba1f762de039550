"""Who may call what: one row a route, and no default (docs/fleet.md 3.1).

A start with a route that has no row here fails.
"""

from enum import Enum, auto
from typing import Final


class Who(Enum):
    """Whose credentials a route takes."""

    EVERYBODY = auto()
    """No credentials; what is sent is not looked at."""
    REGISTRATION = auto()
    """An enrolment token, an agent's own token, or an admin."""
    OWN_AGENT = auto()
    """The token of the agent that the path names; the route finds it, in one statement with its work."""
    OWN_OR_VIEWER = auto()
    """The token of the agent that the path names, or an operator who may read."""
    SESSION = auto()
    """An operator who has signed in with a browser."""
    VIEWER = auto()
    OPERATOR = auto()
    ADMIN = auto()


RIGHTS: Final[dict[tuple[str, str], Who]] = {
    ("GET", "/"): Who.EVERYBODY,
    ("GET", "/admin/"): Who.EVERYBODY,
    ("GET", "/admin/{file}"): Who.EVERYBODY,
    ("GET", "/management/v1/health"): Who.EVERYBODY,
    ("POST", "/management/v1/agents/register"): Who.REGISTRATION,
    ("POST", "/management/v1/agents/{agent_id}/heartbeat"): Who.OWN_AGENT,
    ("GET", "/management/v1/agents"): Who.VIEWER,
    ("GET", "/management/v1/agents/{agent_id}"): Who.OWN_OR_VIEWER,
    ("PATCH", "/management/v1/agents/{agent_id}"): Who.OPERATOR,
    ("DELETE", "/management/v1/agents/{agent_id}"): Who.OPERATOR,
    ("POST", "/management/v1/agents/{agent_id}/rotate-token"): Who.OPERATOR,
    ("GET", "/management/v1/enrolment-tokens"): Who.ADMIN,
    ("POST", "/management/v1/enrolment-tokens"): Who.ADMIN,
    ("DELETE", "/management/v1/enrolment-tokens/{token_id}"): Who.ADMIN,
    ("GET", "/management/v1/fleet/stats"): Who.VIEWER,
    ("GET", "/management/v1/alerts"): Who.VIEWER,
    ("GET", "/management/v1/alerts/summary"): Who.VIEWER,
    ("PUT", "/management/v1/alerts/{alert_id}/acknowledge"): Who.OPERATOR,
    ("POST", "/management/v1/alerts/{alert_id}/resolve"): Who.OPERATOR,
    ("GET", "/management/v1/webhooks"): Who.VIEWER,
    ("POST", "/management/v1/webhooks"): Who.ADMIN,
    ("GET", "/management/v1/webhooks/deliveries"): Who.VIEWER,
    ("GET", "/management/v1/webhooks/deliveries/{delivery_id}"): Who.VIEWER,
    ("POST", "/management/v1/webhooks/deliveries/{delivery_id}/redeliver"): Who.OPERATOR,
    ("GET", "/management/v1/webhooks/{webhook_id}"): Who.VIEWER,
    ("PATCH", "/management/v1/webhooks/{webhook_id}"): Who.ADMIN,
    ("DELETE", "/management/v1/webhooks/{webhook_id}"): Who.ADMIN,
    ("POST", "/management/v1/webhooks/{webhook_id}/rotate-secret"): Who.ADMIN,
    ("POST", "/management/v1/webhooks/{webhook_id}/test"): Who.OPERATOR,
    ("GET", "/management/v1/webhooks/{webhook_id}/deliveries"): Who.VIEWER,
    ("POST", "/platform/v1/auth/login"): Who.EVERYBODY,
    ("POST", "/platform/v1/auth/logout"): Who.SESSION,
    ("GET", "/platform/v1/auth/session"): Who.SESSION,
    ("GET", "/platform/v1/users"): Who.ADMIN,
    ("POST", "/platform/v1/users"): Who.ADMIN,
    ("PATCH", "/platform/v1/users/{user_id}"): Who.ADMIN,
    ("DELETE", "/platform/v1/users/{user_id}"): Who.ADMIN,
    ("GET", "/platform/v1/audit"): Who.ADMIN,
}
