#!/bin/sh
# Start of the container: bring the database up to date, make the first federation key where one is wanted, and
# become the server, with the container's arguments. docs/operations.md 16.1.
set -eu

# Process 1 hears no signal that it has no trap for, and a shell runs its traps only while it waits.
stop() {
    set +e
    kill "$!" 2>/dev/null
    wait "$!"
    exit 143
}
trap stop TERM INT

step() {
    "$@" &
    wait "$!"
}

step /app/migrate
if [ -n "${FEDERATION_DOMAIN:-}" ]; then
    step /app/federation-keygen --domain "$FEDERATION_DOMAIN" --if-missing
fi
exec /app/server "$@"
