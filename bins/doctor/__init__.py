"""Looking at a server from outside: what `less-sync doctor` checks, one check a function."""
