"""The protocol clients speak: bytes, sessions, methods, who may do what, fan-out. Imports: auth, storage."""

if __name__ != "less_sync.sync":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.sync, not {__name__}: each class would exist twice")
