"""Shared spaces by command: create one, let people in, take it back, and explain who may do what.

    person.py    the key behind one's own DID              bundle.py   UCAN and space keys for one person
    session.py   options of a command, connecting, output  spaces.py   create, invite-token, join, revoke
    explain.py   a chain in words                          evidence.py root key and revocations of a database
    addresses.py whom an invitation is for, and where       elsewhere.py spaces whose home is another server
    commands.py  the typer commands

What travels and what is kept is described in `docs/sharing.md`.
"""
