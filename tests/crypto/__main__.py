"""`python -m tests.crypto` writes tests/vectors/crypto.json but for the half that JavaScript makes."""

import json

from tests.crypto import PATH, document

kept = json.loads(PATH.read_text())["javascript"] if PATH.exists() else {}
PATH.write_text(json.dumps(document(kept), indent=1) + "\n")
