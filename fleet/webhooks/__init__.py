"""Webhooks: where they may be sent, how they are signed, and one attempt to send one."""
