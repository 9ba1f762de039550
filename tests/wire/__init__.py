"""Replays recorded conversations byte for byte on real sockets; see `replay.py`."""
