# docker build -t gpucnn . && docker run --rm --gpus all gpucnn            (CUDA 13: driver 580 or newer)
# docker build -t gpucnn:cpu --target cpu . && docker run --rm gpucnn:cpu  (without a GPU)
# docker run --rm --gpus all gpucnn doctor                                 (what keeps the GPU from working)
# docker run --rm --gpus all -v gpucnn-runs:/home/gpucnn/runs gpucnn       (keeps the results; unnamed, --rm drops them)

FROM python:3.12-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gpucnn gpucnn
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim AS base
LABEL org.opencontainers.image.title="gpucnn" \
      org.opencontainers.image.description="Convolutional networks with hand-derived gradients for NumPy and CuPy" \
      org.opencontainers.image.licenses="MIT"
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1
# Volumes take their owner from these folders, so they are made and given away before VOLUME names them.
RUN useradd --create-home --uid 1000 gpucnn \
    && mkdir -p /home/gpucnn/.cache/cupy /home/gpucnn/data /home/gpucnn/runs \
    && chown -R gpucnn:gpucnn /home/gpucnn
WORKDIR /home/gpucnn
# SIGINT lets Python leave through KeyboardInterrupt when the container is stopped.
STOPSIGNAL SIGINT
ENTRYPOINT ["gpucnn"]
CMD ["train"]

FROM base AS cpu
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl
USER 1000:1000
VOLUME ["/home/gpucnn/.cache", "/home/gpucnn/runs"]

FROM base AS cuda
# The same requirement as the extra `cuda13`, in a layer of its own: 1.4 GB that a change of the code leaves alone.
# CuPy's extra `ctk` brings NVRTC and the CUDA headers; CUDA 13.0 is the one that all drivers from 580 on support.
RUN pip install --no-cache-dir "cupy-cuda13x[ctk]==14.*" "cuda-toolkit==13.0.*"
COPY --from=wheel /wheels /wheels
# The wheel is named by its path: by its name, pip might prefer a package of that name from elsewhere.
# hadolint ignore=DL3013
RUN for wheel in /wheels/*.whl; do pip install --no-cache-dir "${wheel}[cuda13]" "cuda-toolkit==13.0.*"; done
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    CUPY_CACHE_DIR=/home/gpucnn/.cache/cupy
USER 1000:1000
VOLUME ["/home/gpucnn/.cache", "/home/gpucnn/runs"]
