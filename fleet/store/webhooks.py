"""What the sealed secrets of webhooks belong to (`fleet/secrets.py`)."""

from uuid import UUID


def secret_place(webhook_id: UUID) -> str:
    """What a sealed secret belongs to."""
    return f"webhooks.secret:{webhook_id}"


def previous_secret_place(webhook_id: UUID) -> str:
    """What a sealed secret belongs to that goes on for a while."""
    return f"webhooks.previous_secret:{webhook_id}"
