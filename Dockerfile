# The Python that the tests run on.
FROM python:3.11-slim-bookworm AS build

WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY streamer streamer
# Wheels only: nothing is compiled here, and nothing of pip is left in what is copied below.
RUN python -m venv --without-pip /opt/streamer \
    && pip --python /opt/streamer/bin/python install --no-cache-dir --disable-pip-version-check \
        --only-binary=:all: -c constraints.txt '.[fast]'


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="streamer" \
      org.opencontainers.image.description="Coinbase market data and balances, streamed into Redis" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/streamer /opt/streamer
ENV PATH=/opt/streamer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1

# A number, so that Kubernetes can see that it is not root. It owns nothing in here and has no home.
USER 10001:10001
EXPOSE 8700
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["stream-status"]
ENTRYPOINT ["start-stream"]
