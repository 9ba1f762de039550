"""The matrix that decides whether a server may take over: what is checked, how it is judged and reported.

Procedures measure (`checks/`), the engine alone judges (`judge.py`), one table decides (`decision.py`).
Whoever runs it hands in what only the commands have: a Postgres of its own, and how `less-sync` is started
(`tools.py`).

Imports: client, sync.client, sync.protocol, auth and migrations; nothing that serves. The judge shares with
the judged the wire format, the formats of keys and the expected schema, and no code behind them.
"""

if __name__ != "less_sync.validation":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.validation, not {__name__}: each class would exist twice")
