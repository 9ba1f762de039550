"""The gRPC side of the volume server: one table of its 49 calls."""
