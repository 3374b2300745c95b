# docker build -t gpucnn .                    for a GPU: CUDA 13, driver 580 or newer
# docker build -t gpucnn:cpu --target cpu .   without a GPU
# docker build -t gpucnn --build-arg EXTRAS=cuda13,cudnn .   with cuDNN's convolutions too (--kernels cudnn)
# docker build -t gpucnn --build-arg EXTRAS=cuda12 .         for drivers 525 to 575: CUDA 12
#
# mkdir -p runs && docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD/runs:/home/gpucnn/runs" gpucnn
#   trains on the GPU; the results are in ./runs. Without a mounted folder, --rm drops them.
# docker run --rm gpucnn doctor               says what keeps the GPU from working
# -v gpucnn-cache:/home/gpucnn/.cache         keeps compiled kernels and downloaded data sets
# --read-only --tmpfs /tmp                    works, too: what is kept lies on the volumes, and CuPy compiles in /tmp

FROM python:3.12-slim AS wheel
ARG EXTRAS=cuda13
WORKDIR /src
# Requirements are listed apart from the code: a change of the code leaves the layers that hold them alone.
COPY pyproject.toml ./
RUN mkdir /requirements && python -c "import sys, tomllib; \
    project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    extras, names = project['optional-dependencies'], sys.argv[1].replace(',', ' ').split(); \
    unknown = [name for name in names if name not in extras]; \
    unknown and sys.exit(f'EXTRAS has {unknown}; give some of {[*extras]} instead, as in cuda13,cudnn'); \
    of_extras = [line for name in names for line in extras[name]]; \
    print(*project['dependencies'], sep='\n', file=open('/requirements/package.txt', 'w')); \
    print(*of_extras, sep='\n', file=open('/requirements/extras.txt', 'w'))" "${EXTRAS}"
COPY README.md LICENSE ./
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
    && mkdir -p /home/gpucnn/.cache/cupy /home/gpucnn/.cache/gpucnn /home/gpucnn/.cache/matplotlib \
        /home/gpucnn/data /home/gpucnn/runs \
    && chown -R gpucnn:gpucnn /home/gpucnn \
    && chmod -R a+rwX /home/gpucnn
COPY --from=wheel /requirements/package.txt /requirements/
RUN pip install --no-cache-dir -r /requirements/package.txt
ENV HOME=/home/gpucnn \
    MPLCONFIGDIR=/home/gpucnn/.cache/matplotlib
WORKDIR /home/gpucnn
# SIGINT lets Python leave through KeyboardInterrupt when the container is stopped.
STOPSIGNAL SIGINT
ENTRYPOINT ["gpucnn"]
CMD ["train"]

FROM base AS cpu
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl
USER 1000:1000
VOLUME ["/home/gpucnn/.cache", "/home/gpucnn/runs"]

FROM base AS cuda
# CuPy's extra `ctk` brings NVRTC, cuBLAS and the CUDA headers. 13.0 is the CUDA 13 that all drivers from 580 support.
COPY --from=wheel /requirements/extras.txt /requirements/
RUN grep -q cupy /requirements/extras.txt || { echo "EXTRAS has neither cuda13 nor cuda12, and this image is for GPUs;" \
    "give one, as in --build-arg EXTRAS=cuda13, or build the image without a GPU: --target cpu" >&2; exit 1; }
RUN pip install --no-cache-dir -r /requirements/extras.txt "cuda-toolkit<13.1"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl
# Compiled kernels lie on the volume: the next container starts without compiling.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    CUPY_CACHE_DIR=/home/gpucnn/.cache/cupy
USER 1000:1000
VOLUME ["/home/gpucnn/.cache", "/home/gpucnn/runs"]
