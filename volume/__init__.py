"""The volume server: keeps files as needles in large volume files, for SeaweedFS masters and clients.

`format` is pure and knows every byte on disk; `engine` keeps volumes; `http` and `grpc` are how they are
reached; `master` reports them; `security` says who may. Imports no other room.
"""

if __name__ != "less_sync.volume":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.volume, not {__name__}: each class would exist twice")
