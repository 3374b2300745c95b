# docker build -t gpucnn .                    for a GPU: CUDA 13, driver 580 or newer
# docker build -t gpucnn:cpu --target cpu .   without a GPU
# docker build -t gpucnn --build-arg EXTRAS=cuda13,cudnn .   with cuDNN's convolutions too (--kernels cudnn)
#
# mkdir -p runs && docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD/runs:/home/gpucnn/runs" gpucnn
#   trains on the GPU; the results are in ./runs. Without a mounted folder, --rm drops them.
# docker run --rm gpucnn doctor               says what keeps the GPU from working
# -v gpucnn-cache:/home/gpucnn/.cache         keeps compiled kernels and downloaded data sets

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
# Volumes take owner and mode from these folders, so they are made before VOLUME names them. Everyone may write there:
# who mounts a folder of their own runs as themselves, --user "$(id -u):$(id -g)".
RUN useradd --create-home --uid 1000 gpucnn \
    && mkdir -p /home/gpucnn/.cache/cupy /home/gpucnn/data /home/gpucnn/runs \
    && chown -R gpucnn:gpucnn /home/gpucnn \
    && chmod -R a+rwX /home/gpucnn
ENV HOME=/home/gpucnn
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
ARG EXTRAS=cuda13
# hadolint ignore=DL3013
RUN for wheel in /wheels/*.whl; do pip install --no-cache-dir "${wheel}[${EXTRAS}]" "cuda-toolkit==13.0.*"; done
# Compiled kernels lie on the volume: the next container starts without compiling.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    CUPY_CACHE_DIR=/home/gpucnn/.cache/cupy
USER 1000:1000
VOLUME ["/home/gpucnn/.cache", "/home/gpucnn/runs"]
