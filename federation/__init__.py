"""Servers that speak to servers: trust, quotas, links. Imports: auth, storage, sync."""

if __name__ != "less_sync.federation":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.federation, not {__name__}: each class would exist twice")
