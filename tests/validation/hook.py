"""A hook for tests, really run: `hook.py STATE status | set-weight STABLE CANARY PERCENT | rollback STABLE`.

STATE is a JSON file with the weight and with what is wrong with the hook. Standard library alone.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

IMAGE = "sha256:" + "ab" * 32
PLAIN: dict[str, Any] = {
    "percent": 0,
    "image": IMAGE,
    "connections": None,
    "acts_in_dry_run": False,
    "rollback_s": 0.0,
    "exit": 0,
    "lies": False,
    "calls": [],
}


def _run(path: Path, words: list[str]) -> int:
    state = json.loads(path.read_text())
    dry = "--dry-run" in words
    words = [word for word in words if word != "--dry-run"]
    state["calls"].append(" ".join([*words, *(["--dry-run"] if dry else [])]))
    wanted = int(words[3]) if words[0] == "set-weight" else 0
    if words[0] == "status":
        told = {"stable": "old-1", "canary": "new-2", "percent": state["percent"]}
        if state["connections"] is not None:
            told["stable_connections"] = state["connections"]
        print(state.get("prints") or json.dumps(told))
    elif dry and not state["acts_in_dry_run"]:
        print(json.dumps({"actions": [f"weight {wanted}"], "target_image": state["image"]}))
    else:
        if words[0] == "rollback":
            time.sleep(state["rollback_s"])
        if not state["lies"]:
            state["percent"] = wanted if not dry else 50
        print(json.dumps({"actions": ["done"], "target_image": state["image"]}))
    new = path.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.replace(path)
    return 0 if words[0] == "status" else int(state["exit"])


if __name__ == "__main__":
    sys.exit(_run(Path(sys.argv[1]), sys.argv[2:]))
