"""Two servers, the wire between them, and their clients, on one loop.

    make simulate SEEDS=2000 ARGS=--federation
    make simulate SEED=7 ARGS=--federation

`bob`'s and `carol`'s space has its home at `home.test`; both reach it through `edge.test`, where its row is
a shadow. Alice, whose space it is, is at the home. Dave and erin are neighbours: one at each server, in
spaces of their own, who must not notice what becomes of the wire.

What is real beside the server itself: the gate and its signatures, sessions of peers, quotas, tokens, links
with their sockets and dialler, the forwarder and everything behind it. `wire.py` stands where the network
would be: the loop's `create_connection` ends there. `servers.py` puts a server together as `bins` does, and
takes it apart again: a restarted one has the tables of the one before and nothing else.

What may happen (`script.py`): a connection is cut, half-open, held up or sent garbage, behind any frame,
inside any frame, inside the upgrade; the servers lose sight of each other; either is restarted, politely or
not; clocks go wrong by more than a signature's age; the edge signs with another key, known to the home or not
yet; the home has another secret for its tokens; access is revoked.

What must hold beside the rules that hold at each server (`rules.py`): what an edge's client was told is
written is in the home's journal, once, under the cursor it was told (ONCE); after a while of good weather
everybody has heard of everything or was told to pull, a pull through the edge is what the home has
(CONVERGED), who was revoked hears nothing, and nothing is left of anything when all have gone; the neighbours
are answered in time all along (NEIGHBOURS). Where the script has no trouble, none may be told.
"""
