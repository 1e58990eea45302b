# wcsup as a container image: docker build --tag wcsup:0.1.0 .
#
# What it is told stands in the environment, as WCSUP_BOOTSTRAP_SERVERS and WCSUP_APP_ID; `wcsup run --help` has the rest.

# The wheel is built by the oldest Rust that Cargo.toml allows, from the locked crates and by the locked maturin.
FROM rust:1.85-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /venv
WORKDIR /src
COPY requirements.txt .
COPY deploy/requirements.txt deploy/
RUN sed -n '/^maturin==/,/[^\\]$/p' requirements.txt > maturin.txt \
 && /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement maturin.txt \
 && /venv/bin/pip download --no-cache-dir --require-hashes --only-binary :all: --dest /wheels \
    --requirement deploy/requirements.txt
COPY . .
RUN PATH="/venv/bin:$PATH" maturin build --release --strip --compatibility linux --out /wheels

FROM python:3.11-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
 && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin wcsup \
 && install --directory --owner wcsup --group wcsup --mode 0750 /var/lib/wcsup
ENV WCSUP_STATE_DIR=/var/lib/wcsup \
    WCSUP_LOG_FORMAT=json \
    WCSUP_RUN_HTTP=0.0.0.0:9090
# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
VOLUME /var/lib/wcsup
EXPOSE 9090
# The process gets it itself, with no shell between: it drains, and ends with status 0.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/livez', timeout=4)"]
ENTRYPOINT ["wcsup"]
CMD ["run"]
