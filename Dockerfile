# The service on a CPU: docs/deploy.md. The second stage leaves the installer and its cache behind.
FROM python:3.13-slim AS build
# hadolint ignore=DL3013
RUN pip install --no-cache-dir uv
COPY . /source
# Wheels of torch without CUDA; bytecode, since the service may write none; no C++ headers.
RUN uv venv /opt/foreframe \
    && uv pip install --python /opt/foreframe/bin/python --torch-backend cpu \
        --no-cache --compile-bytecode '/source[serve]' \
    && rm -r /opt/foreframe/lib/python3.13/site-packages/torch/include

FROM python:3.13-slim
COPY --from=build /opt/foreframe /opt/foreframe
ENV PATH=/opt/foreframe/bin:$PATH MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=15s --timeout=5s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz')"]
ENTRYPOINT ["foreframe", "serve", "--host", "0.0.0.0"]
CMD ["moving-mnist"]
