"""Wiring: settings, process life, commands, operation, the embedded Postgres. May import any room."""

if __name__ != "less_sync.bins":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.bins, not {__name__}: each class would exist twice")
