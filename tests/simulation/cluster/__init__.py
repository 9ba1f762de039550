"""Several nodes on one database, the bus between them, and their clients, on one loop.

    make simulate SEEDS=2000 ARGS=--cluster
    make simulate SEED=7 ARGS=--cluster

Two or three nodes serve the same people from one modelled database; who comes back may find another one. What
is real beside a server itself: everything that nodes tell each other and do about it. `bus.py` stands where
NATS would be, behind the server's own `Bus`.

What may happen (`script.py`): the bus loses, repeats and holds up messages, is killed, or away without a
word; one node is parted from it, and notices or does not; a node crashes or is replaced; where the script is
not timed, statements fail and a server that is not on the bus writes.

What must hold beside the rules that hold at each server: what was committed is heard by everybody who
listens, at every node, each thing once and none without what is before it; where the database has no faults
within 5 s, over a bus without faults at once (ANNOUNCED). Who was shut out hears nothing any more, after the
same times (REVOKED). What comes to a mailbox is told to all of its connections, within the times of what is
committed (INVITED). When the weather is good everybody sees everybody else who is present, and at no time
anybody who left longer ago than presence lasts (PRESENCE). When all have left nothing is kept for anybody
(ZERO).
"""
