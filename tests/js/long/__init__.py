"""What takes long of it: both clients together, kills, half-open connections."""
