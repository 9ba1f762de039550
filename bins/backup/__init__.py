"""Copies of a server's database and contents of files in a folder (docs/operations.md 14).

What a backup is    manifest.py, copied.py (of contents), last.py (the newest)
Making one          take.py, with folder.py, source.py, tables.py, contents.py; keep.py removes old ones
Checking one        reading.py, check.py
Loading one         load.py, with load_tables.py, load_contents.py, load_faults.py; load_upgrade.py
For all of them     place.py (where a server has its things), watching.py, disk.py
"""
