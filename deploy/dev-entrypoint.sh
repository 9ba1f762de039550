#!/bin/sh
# Start of the development container: as entrypoint.sh, and again whenever the source in /app has changed.
# It looks once a second, because not every kind of mount tells of changes.
set -eu

LOOK_S=1
stamp=$(mktemp)
server=""
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server"; fi; rm -f "$stamp"; exit 143' TERM INT

changed() {
    [ -n "$(find /app -path '/app/.*' -prune -o -path /app/tmp -prune -o -path /app/data -prune -o \
        -newer "$stamp" \( -name '*.py' -o -name '*.sql' -o -name '*.json' \) -print -quit)" ]
}

start() {
    migrate || return
    if [ -n "${FEDERATION_DOMAIN:-}" ]; then
        federation-keygen --domain "$FEDERATION_DOMAIN" --if-missing || return
    fi
    exec less-sync-server "$@"
}

while :; do
    touch "$stamp"
    start "$@" &
    server=$!
    # The server may have ended by a fault in the source: the next change starts it as well.
    until changed; do
        sleep "$LOOK_S" &
        wait "$!"
    done
    kill "$server" 2>/dev/null || true
    wait "$server" || true
done
