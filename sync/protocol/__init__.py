"""The protocol without I/O: bytes in, typed messages out, bytes to send. No event loop, no socket, no clock.

frames.py         one message to and from CBOR
messages/         params and results, the only place that knows wire field names
codes.py          subprotocols, error codes, close codes
errors.py         whose fault it is
connection.py     states of a connection: awaiting auth, open, closed
notifications.py  complete frames of what the server announces
pull_chunks.py    the chunks of a pull, with their WebSocket headers
deks.py           epochs of wrapped DEKs; listings of them
ids.py            record ids
times.py          times in results
items.py          how many items a frame has, before it is decoded
scanner.py        the bounded fallback decoder
cbor.py           heads and strings for frames joined from parts
"""
