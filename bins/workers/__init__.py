"""Several processes of one server: a supervisor, and the workers that serve (docs/scaling.md 1)."""
