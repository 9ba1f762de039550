"""The server under a deterministic simulation: one seed is one history, and fails the same way every time.

What is real: the sockets (`ClientSocket`), sessions, dispatcher, announcer, broker, presence, mailboxes,
background tasks, the HTTP application with its routes of files, uploads and removals, the stores, push lanes,
pull readers, `PostgresPool` and asyncpg's own `Pool`. What is modelled stands at three seams: the transport
(`line.py`, and `exchanges.py` in place of an HTTP server), `asyncpg.Connection` (`connection.py`, over
`database.py`, `queries.py` and `tables.py`), and the store of contents (`contents.py`). All are handed in;
nothing is patched. `system.py` is the only module that imports the server.

The model of the database is held to the tests of the stores: those of `tests/storage` that ask for a pool
run over Postgres and over the model (`modelled_pool.py`), random histories of store operations among them.
What only a real server can answer is named there with its reason (`tests/storage/modelled.py`).

How a run goes (`world.py`): `script.py` draws from the seed who comes, with which limits, and what goes
wrong; `loop.py` decides what happens next. Virtual time passes with every callback, and an outside event
(bytes of a client, an answer of the database, a hang-up) that is due by then runs between two ready
callbacks, as uvloop runs reads; with nothing ready, time jumps. The actors (`actor.py`) are no tasks, so
that they never stand in the server's queue. After the play everything calms down for longer than any
deadline, a last push is made, and what is owed must have been paid; then all leave, and what is left is
compared with what was there before (`leftovers.py`, which measures whatever attributes there are).

What must hold (`rules.py`) is judged by a `Witness` per connection, from the bytes the server writes, and
by the world at the end. A commit is found again by its mark: 16 bytes that its author put into a DEK or a
payload and that begin with the number of the connection.

    make simulate SEEDS=20000                        # stops at the first seed that fails
    make simulate SEEDS=2000 ARGS=--keep-going       # and counts the rules that were broken
    make simulate SEED=154                           # replays one, with every event and frame
    make simulate ARGS='--rules answers,cursors'     # looks at these rules alone
    make simulate ARGS='--mutant lost_wakeup'        # looks for an old fault that is put back

Two servers, and the wire between them, are a world of their own: `tests/simulation/federation/`. So are nodes
on one database and the bus between them: `tests/simulation/cluster/`.

To add a rule: give it a name in `Rule`, and call `Court.charge` where it is broken. Say no more than the
server promises: a rule that is wrong in one seed of a thousand costs more than it finds. To add trouble: a
number in `Weather` for what happens to a statement, or a row in `world.EVENTS` for what happens at a time.

To add a mutant: put the old behaviour under `mutants/` as a subclass, name it in a `Parts` in place of what
it replaces, and give it a row in `MUTANTS` with the rules it breaks. The tests look for every row.

Determinism: clock, chance and names come from `Services` and `PostgresPool`; `PYTHONHASHSEED` is fixed by
the command; the collector is off during a run; sets decide no order. A digest over all events and all bytes
written tells whether two runs were the same. UCANs and tokens are signed once per process, so their bytes
differ: the digest does not see what clients send.
"""
