# The gateway with llama.cpp for CPUs with AVX2, or any ARM64.
#   docker compose up --build

FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/openkimi
WORKDIR /src
# GGML_NATIVE=OFF: the image may run on another machine than the one that builds it.
ENV CMAKE_ARGS="-DGGML_NATIVE=OFF"
COPY requirements.txt .
RUN /opt/openkimi/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY openkimi openkimi
COPY plugins plugins
RUN /opt/openkimi/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home openkimi \
    && install -d -o openkimi -g openkimi /models /data
COPY --from=build /opt/openkimi /opt/openkimi
COPY config/config.docker.json /etc/openkimi/config.json
ENV PATH=/opt/openkimi/bin:$PATH PYTHONUNBUFFERED=1 OPENKIMI_CACHE_DIR=/models
USER openkimi
# A config of yours may keep its documents under data/, as the shipped ones do: that is the volume.
WORKDIR /
VOLUME ["/models", "/data"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["python", "-m", "openkimi.api.server", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--config", "/etc/openkimi/config.json"]
