"""The fleet plane: one service that watches many sync and volume servers, for those who run them.

api/           the routes, a family a file, behind one table of who may call what
store/, sql/   what is written and read, a domain a file     workers/   what is done in the background
plane.py       what routes and workers are handed            line.py    the migrations of its schema

No sync server needs it to serve, no client speaks to it, and it is told nothing of what is stored anywhere.
Imports: auth, migrations, and of storage the translation of errors and the reader of named SQL.
"""

if __name__ != "less_sync.fleet":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.fleet, not {__name__}: each class would exist twice")
