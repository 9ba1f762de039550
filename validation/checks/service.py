"""Lane `service`: is it there, whole, and the one it is taken for (docs/validation.md 6.1)."""

from typing import Final

from less_sync.validation.checks import service_http as http
from less_sync.validation.checks import service_place as place
from less_sync.validation.procedure import AtLeast, AtMost, Looser, Parameter, Place, Procedure, Same

LANE: Final = "service"
HALF_A_YEAR_S: Final = 15_552_000
TOKEN: Final = ("owner:token",)

PROCEDURES: Final[tuple[Procedure, ...]] = (
    Procedure(
        "health",
        LANE,
        http.health,
        "answers healthy, in time, and nothing but that",
        (Same("status"), AtMost("slowest_ms", "deadline_ms", "deadline"), Same("body"), Same("head")),
        {"times": Parameter(5, Looser.DOWN), "deadline_ms": Parameter(3000, Looser.UP)},
    ),
    Procedure(
        "headers",
        LANE,
        http.headers,
        "sends the six common headers with answers of every kind, and no header that must not come",
        (Same("status"), Same("headers")),
        capabilities=TOKEN,
    ),
    Procedure(
        "preflight",
        LANE,
        http.preflight,
        "lets browsers send files from other origins",
        (Same("status"), Same("allowed")),
    ),
    Procedure(
        "jwks",
        LANE,
        http.jwks,
        "publishes well-formed keys, to be kept for an hour",
        (Same("status"), Same("cache-control"), Same("keys")),
    ),
    Procedure(
        "routes",
        LANE,
        http.routes,
        "answers what is public, what needs a token and what does not exist as the contract has it",
        (Same("rows"),),
        capabilities=TOKEN,
    ),
    Procedure(
        "request-head",
        LANE,
        http.request_head,
        "answers a request with a long head itself: no proxy before it is in the way",
        (Same("answered"),),
        {"head_kib": Parameter(96, Looser.DOWN)},
        timeout_s=60,
        capabilities=TOKEN,
    ),
    Procedure(
        "tls",
        LANE,
        place.tls,
        "is reached by TLS with a certificate for its name that is good for a while",
        (Same("certificate"), Same("redirect"), Same("upgrade")),
        {"valid_days": Parameter(14, Looser.DOWN), "allow_plain_http": Parameter(False, Looser.UP)},
    ),
    Procedure(
        "hsts",
        LANE,
        place.hsts,
        "tells browsers to come back by TLS alone",
        (Same("present"), AtLeast("max_age_s", "max_age_s", "too-short")),
        {"max_age_s": Parameter(HALF_A_YEAR_S, Looser.DOWN)},
    ),
    Procedure(
        "clock",
        LANE,
        place.clock,
        "has the time of this machine, and so has its database",
        (Same("dated"), AtMost("skew_ms", "skew_ms", "skew")),
        {"skew_ms": Parameter(5000, Looser.UP)},
    ),
    Procedure(
        "version",
        LANE,
        place.version,
        "is the kind of server, the version and the image that it is taken for",
        (Same("kind"), Same("build")),
        capabilities=TOKEN,
    ),
    Procedure(
        "distinct",
        LANE,
        place.distinct,
        "staging and production are two systems",
        (Same("distinct"),),
        exclusive=("identity:owner",),
    ),
    Procedure(
        "features",
        LANE,
        place.features,
        "has the features that are declared, and no others",
        (Same("features"),),
        place=Place.LAST,  # any check may have met an hourly limit
    ),
    Procedure(
        "canonical-host",
        LANE,
        place.canonical_host,
        "is where the official name leads, with a certificate for it",
        (Same("mapped"),),
        compatibility=True,
    ),
)
