"""Folders kept in agreement and shared. Imports: auth, and of sync the client library and the protocol."""

if __name__ != "less_sync.client":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.client, not {__name__}: each class would exist twice")
