"""What the server process is busy with, for an operator on the same machine (docs/operations.md 11.4).

Everything here shows places in the code and counts: no values, no names that somebody gave to a task.
"""
