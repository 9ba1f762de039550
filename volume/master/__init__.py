"""What the volume server tells its master and asks it."""
