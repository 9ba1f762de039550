"""The messages of both services; `make protos` writes the modules from the `.proto` files."""
