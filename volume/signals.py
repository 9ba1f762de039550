"""The signals that stop a volume server, in a module that costs a start nothing."""

import signal
from typing import Final

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
