"""What the simulation of a cluster takes from the server, beside what that of one server does."""

from less_sync.sync.announce import Notice
from less_sync.sync.live.bus import CONFIRM_S_MAX, SUBJECT_OF_NODES, Hear, Reconnected, subject_of
from less_sync.sync.live.comparison import Comparison
from less_sync.sync.live.elsewhere import PresenceElsewhere
from less_sync.sync.live.groups import Group
from less_sync.sync.live.in_order import InOrder
from less_sync.sync.live.news import Here, Left, Present, Revoked, decode_news
from less_sync.sync.live.nodes import Nodes
from less_sync.sync.live.sequence import Sequence
from less_sync.sync.protocol.messages import PresenceEntry

__all__ = [
    "CONFIRM_S_MAX",
    "SUBJECT_OF_NODES",
    "Comparison",
    "Group",
    "Hear",
    "Here",
    "InOrder",
    "Left",
    "Nodes",
    "Notice",
    "PresenceElsewhere",
    "PresenceEntry",
    "Present",
    "Reconnected",
    "Revoked",
    "Sequence",
    "decode_news",
    "subject_of",
]
