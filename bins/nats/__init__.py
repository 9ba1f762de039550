"""NATS, which carries news between nodes: the operator's, or a private one (docs/scaling.md 1 and 2)."""
