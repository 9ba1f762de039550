"""What lies on disk, byte for byte. Pure: no file, clock or loop (docs/volume-format.md)."""
