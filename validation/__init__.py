"""The matrix that decides whether a server may take over: what is checked, how it is judged and reported.

Procedures measure (`checks/`), the engine alone judges (`judge.py`), one table decides (`decision.py`).
Whoever runs it hands in what only the commands have: a Postgres of its own, and how `less-sync` is started
(`tools.py`).

What is decided
    manifest.py      the matrix as data, read      matrix.py     and as the engine sees it
    rows.py          the rows of this run          policy.py     what lets more pass than the built-in one
    inputs.py        variables and options         plan.py       all of it together, before anything runs
    toml_lines.py    where a key stands            toml_text.py  a manifest as text again
    catalogue.py     all procedures by name        procedure.py  what each declares of itself

A run
    reported.py      with its report               running.py    what is looked at, opened and closed
    assembly.py      targets and people            engine.py     the order of checks
    attempt.py       one check                     context.py    what a procedure is given
    measured.py      what it hands over            judge.py      what becomes of that
    outcome.py       statuses and reasons          decision.py   what all rows come to
    generated.py     everything random             fingerprint.py  which server it was
    tools.py         what the commands hand in

What procedures look with
    targets.py       connections to a server       conversation.py  one WebSocket
    waiting.py       waits for several             people.py     users, tokens, keys, issuers
    spaces.py        push, pull, compare           file_routes.py  files over HTTP
    holdings.py      all that somebody has         sentinel.py   what is planted before a switch
    queries.py       a database, read alone        metrics.py    what a server counts
    logs.py          what it logs                  contents.py   where contents of files are
    hooks.py         commands of the operator      commands.py   those that a variable names
    made.py          what is to be removed         checks/       the procedures, lane by lane

Scratch
    scratch.py       the backup, restored once     scratch_databases.py  databases
    scratch_server.py  servers                     processes.py  programs and their groups
    guard.py         what ends with its parent     relay.py      one address for several servers
    backup_folder.py  the folder of a backup       shape.py      what a database can do

The report
    results.py       the document                  facts.py      from a run to it
    report.py        its folder, written           keeping.py    files on disk
    journal.py       what an aborted run has left  redact.py     secrets, masked
    evidence.py      what was exchanged            texts.py      foreign text made harmless
    wording.py       what is said in words         canonical.py  JSON in one spelling
    renderings.py    all renderings                render_tsv.py, render_markdown.py, render_junit.py,
                                                   render_html.py  one each
    attest.py        digests and signature         trust.py      whose signatures count
    reading.py       somebody else's folder        verify.py     whether it may be acted on
    compare.py       two reports                   index.py      a line per run
    repository.py    what git knows

Imports: client, sync.client, sync.protocol, auth and migrations; nothing that serves. The judge shares with
the judged the wire format, the formats of keys and the expected schema, and no code behind them.
"""

if __name__ != "less_sync.validation":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.validation, not {__name__}: each class would exist twice")
