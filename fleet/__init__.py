"""The fleet plane: one service that watches many sync and volume servers, for those who run them.

line.py        its schema's migrations, in `migrations/`

No sync server needs it to serve, no client speaks to it, and it is told nothing of what is stored anywhere.
Imports: auth, migrations, and of storage the translation of errors and the reader of named SQL.
"""

if __name__ != "less_sync.fleet":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.fleet, not {__name__}: each class would exist twice")
