"""Tells a fleet plane of this server, and does what it is told back (docs/fleet.md).

report.py    the closed list of what leaves the machine      messages.py  the bodies around it
client.py    requests to the plane, bounded                  state.py     what is kept between two starts
grid.py      when a heartbeat is due                         reporter.py  the task

Imports no room: whoever starts it hands in where the figures come from and how the server is drained.
"""
