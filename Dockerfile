# The server for production. docs/operations.md 16.1 says how it is run and which names it has.
# The version of Python that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/less-sync
COPY . .
RUN pip --python /opt/less-sync/bin/python install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --constraint constraints.txt '.[server,cluster]'

FROM python:${PYTHON}-slim-bookworm
# Platforms probe the health of a container with either of curl and wget.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates curl wget \
 && rm -rf /var/lib/apt/lists/*
# The embedded Postgres needs its user in the list of users.
RUN groupadd --gid 65532 nonroot \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nonroot \
 && install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/less-sync /var/lib/betterbase-sync \
 && install --directory --owner=65532 --group=65532 /var/lib/less-sync/files /var/lib/betterbase-sync/files
COPY --from=build /opt/less-sync /opt/less-sync
COPY deploy/entrypoint.sh /usr/local/bin/less-sync-entrypoint
WORKDIR /app
# The names that the existing images' programs have, beside ours.
RUN ln -s /opt/less-sync/bin/less-sync /usr/local/bin/less-sync \
 && ln -s /opt/less-sync/bin/less-sync-server /usr/local/bin/less-sync-server \
 && ln -s /opt/less-sync/bin/migrate /usr/local/bin/less-sync-migrate \
 && ln -s /opt/less-sync/bin/federation-keygen /usr/local/bin/less-sync-federation-keygen \
 && for name in server migrate federation-keygen entrypoint; do \
        ln -s "less-sync-$name" "/usr/local/bin/betterbase-sync-$name" || exit 1; \
    done \
 && for name in server migrate federation-keygen; do \
        ln -s "/usr/local/bin/less-sync-$name" "/app/$name" || exit 1; \
    done
ENV PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/less-sync
USER 65532:65532
EXPOSE 5379
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=5 \
    CMD curl --fail --silent --show-error --output /dev/null http://127.0.0.1:5379/health
ENTRYPOINT ["/usr/local/bin/less-sync-entrypoint"]
