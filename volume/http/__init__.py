"""The HTTP side of the volume server: admin and public port."""
