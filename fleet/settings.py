"""What an operator can set of the fleet plane, checked already. The environment is read elsewhere."""

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How events are delivered to the receivers that operators name."""

    interval_s: int = 5
    """The longest wait between two looks for due deliveries, 1 to 3,600."""
    batch_size: int = 20
    """Deliveries claimed per look, 1 to 500."""
    timeout_s: int = 15
    """Of one attempt, 1 to 30."""
    allow_http: bool = False
    """Whether targets may be plain HTTP."""
    allow_networks: tuple[Network, ...] = ()
    """Networks that targets may lie in although they are not globally routable."""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """When an agent counts as stale, and when as inactive."""

    interval_s: int = 30
    """Between two looks at all agents, 1 to 3,600."""
    stale_after: float = 3.0
    """Missed intervals of an agent after which it is stale, 1.5 to 1,000."""
    inactive_after: float = 10.0
    """The same for inactive; greater than `stale_after`, 10,000 at most."""


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long what has happened is kept, in days, 1 to 3,650 each. The audit trail is kept for good."""

    heartbeat_days: int = 7
    delivery_days: int = 30
    event_days: int = 90


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What the routes, workers and pages of one plane need to know. Secrets are left out of `repr`."""

    public_url: str
    """How agents and browsers reach the plane: http or https, without a slash at its end."""
    management_keys: tuple[str, ...] = field(repr=False)
    """The management key, and behind it the previous one while it still counts."""
    secret_keys: tuple[bytes, ...] = field(repr=False)
    """32 bytes each: what secrets at rest are encrypted with, and behind it what it was before."""
    schema: str = "less_sync_fleet"
    """The whole search path of every connection."""
    database_connections_max: int = 10
    cors_origins: tuple[str, ...] = ()
    """As browsers send them in `Origin`; `("*",)` alone lets all read, without credentials."""
    heartbeat_interval_s: int = 60
    """Told to agents, 5 to 3,600."""
    heartbeat_sample_s: int = 300
    """At most one row of history per agent in this time, 1 to 86,400."""
    request_timeout_s: int = 30
    """Of one request, 1 to 3,600."""
    session_idle_minutes: int = 60
    """An operator's session ends when nothing was asked for so long, 1 to 10,080."""
    session_max_hours: int = 168
    """And in any case after so long, 1 to 8,760."""
    trusted_proxies: tuple[Network, ...] = ()
    """Peers whose right-most `X-Forwarded-For` entry is the client's address."""
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
