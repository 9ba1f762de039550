"""The reporter to a fleet plane, wired: figures of a sync server, of its workers, of a volume server."""
