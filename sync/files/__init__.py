"""Files of spaces: how a content and its row stay together. The routes are in `sync/http/files.py`."""
