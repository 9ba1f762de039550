"""A folder as records of a space: encrypted here, pushed, pulled and watched.

What one file and one record are:

    crypto.py    one file <-> one encrypted record         keyfile.py  the 32 bytes that devices share
    plaintext.py what the record says                      stream.py   one part of a large file, in chunks
    paths.py     which names may exist inside a folder     ignore.py, own_files.py  what is never synced

The folder:

    scan.py      what is in it now                         walk.py, files.py  changes that cannot escape it
    hashing.py   one file, read in chunks                  partial.py  one file that is being downloaded
    state.py     what both sides had last (`.less-sync/`)  transfers.py  of it: large contents on their way
    trash.py     what a pull took away                     local.py    this side as a whole
    plan.py      what to do, as a pure function            changes.py  what the server does not have
    arrivals.py, deletions.py, intake.py  records in       outbox.py   changes out

The server:

    exchange.py  subscribe, pull, push once                engine.py   until both agree, with patience
    sending.py, uploads.py  the way out                    downloads.py  large files in
    conversation.py, file_storage.py  what these share     look.py     status, ls and dry runs
    shared.py    the grant of a shared folder              subscribing.py  whether a space lets us in

One round:

    pull ─▶ intake: open, decide ─▶ files placed, deletions last ─▶ large ones: downloads ─▶ placed
    scan ─▶ changes ─▶ outbox: sealed ─▶ sending: a frame of records at a time ─▶ acknowledged in the state
                   └─▶ a large one: uploads: content record, its parts ─▶ the record that points to it

A command: access.py (server and tokens), job.py, run.py, refused.py (`trash`), report.py, errors.py.

The format is described in `docs/folder-format.md`.
"""
