# Likeness on CPUs. Without arguments the container serves the run that is mounted at /model, with the keys in
# /run/secrets/likeness_keys; compose.yaml and docs/run-a-server.md show how. Arguments are another command:
#   docker build -t likeness .
#   docker run --rm -v "$PWD:/work" -w /work --user "$(id -u):$(id -g)" likeness identify --model runs/mine photos
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/likeness \
    && /opt/likeness/bin/pip install --no-cache-dir --disable-pip-version-check -c requirements.lock ".[server]" \
    && XDG_CACHE_HOME=/opt/likeness/cache /opt/likeness/bin/likeness models --fetch

FROM python:${PYTHON}-slim
COPY --from=build /opt/likeness /opt/likeness
RUN useradd --uid 1000 --no-create-home --home-dir /tmp likeness
# Any user may run this image (--user): what is written without being asked for goes to /tmp.
ENV PATH=/opt/likeness/bin:$PATH \
    HOME=/tmp \
    LIKENESS_MODELS=/opt/likeness/cache/likeness/models \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=3
USER 1000
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=8)"]
ENTRYPOINT ["likeness"]
CMD ["serve", "--model", "/model", "--host", "0.0.0.0", "--keys", "/run/secrets/likeness_keys"]
