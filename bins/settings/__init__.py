"""Settings: read from the environment, checked, all problems told at once."""
