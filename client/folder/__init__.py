"""A folder as records of the user's personal space: encrypted here, pushed, pulled and watched.

    crypto.py    one file <-> one encrypted record         keyfile.py  the 32 bytes both devices need
    paths.py     which names may exist inside a folder     plan.py     what to do, as a pure function
    scan.py      what is in the folder now                 files.py    atomic changes that cannot escape it
    state.py     what both sides had last (`.less-sync/`)  engine.py   pull, push and watch over the client
    session.py   server address and tokens                 report.py   progress, lines or JSON
    commands.py  the typer commands

The format is described in `docs/folder-format.md`.
"""
