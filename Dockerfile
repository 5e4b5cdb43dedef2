# FlashU Server as an image: one file for GPUs and, with --build-arg TORCH_INDEX=..., for CPUs. docker/README.md tells
# how to build, run and check it.
#
# The base is NVIDIA's smallest: the CUDA runtime and the driver's compatibility libraries, with which A100 and H100 nodes
# of an older driver branch run CUDA 13 too. The larger ones would hold a second time what torch's wheels bring. Any other
# base of Debian's kind does, with Python 3.11 or newer or with none. A tag can be moved, so its digest is part of it; of
# another tag, this prints it:
#   docker buildx imagetools inspect docker.io/nvidia/cuda:13.0.2-base-ubuntu24.04 --format '{{.Manifest.Digest}}'
ARG BASE=docker.io/nvidia/cuda:13.0.2-base-ubuntu24.04@sha256:2ab6381d970b211fb93853796dc6707eb8a72575a375c422b17cf4d8b2641701

FROM ${BASE} AS python
# The distribution's Python where the base has none. Its archive keeps only the newest fix of a package, so a pinned version
# would soon be one that is not there.
# hadolint ignore=DL3008
RUN if ! command -v python3 > /dev/null; then \
        apt-get update \
        && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates python3 \
        && apt-get clean \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
"the base has Python " + sys.version.split()[0] + ", 3.11 or newer is needed: take another BASE")'
# Triton compiles what starts its kernels, on the GPU's own machine: it needs a C compiler and Python's headers there. Where
# they are missing the server runs all the same, without CUDA graphs. A torch without CUDA needs neither.
ARG TORCH_INDEX=""
# hadolint ignore=DL3008
RUN case "${TORCH_INDEX}" in \
        */cpu) ;; \
        *) apt-get update \
            && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
            && apt-get clean \
            && rm -rf /var/lib/apt/lists/* ;; \
    esac

FROM python AS build
# Where torch comes from. Nothing means PyPI, whose wheels are built with CUDA 13 for A100, H100 and newer (driver 580 or
# later, or the base's compatibility libraries); https://download.pytorch.org/whl/cu126, on a base of CUDA 12.6, is for
# older drivers of other cards, https://download.pytorch.org/whl/cpu for none.
ARG TORCH_INDEX=""
# A requirement of pip's that names a wheel of flash-attn for this Python and torch, as "flash-attn @ https://...whl"; the
# server then knows FLASHU_ATTENTION=flash-attn. Nothing is compiled here, on purpose.
ARG FLASH_ATTN=""
# Options of pip's for registries of one's own, as --build-arg PIP_INDEX_URL=https://...; what is empty, pip ignores.
ARG PIP_INDEX_URL=""
ARG PIP_CERT=""
ARG PIP_FIND_LINKS=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# hadolint ignore=DL3008
RUN if ! python3 -c 'import ensurepip' 2> /dev/null; then \
        apt-get update \
        && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
        && apt-get clean \
        && rm -rf /var/lib/apt/lists/*; \
    fi
# pip works from an environment of its own, so that the one that is served from holds none.
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/flashu \
    && groupadd --gid 10001 flashu \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /cache --shell /usr/sbin/nologin flashu \
    && mkdir /cache
COPY pyproject.toml constraints.txt ./
# Alone and first: it is by far the largest layer and changes least. Its own dependencies come with the others, from PyPI.
RUN /opt/build/bin/pip --python /opt/flashu/bin/python install --constraint constraints.txt --no-deps \
        ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
RUN python3 -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*project["dependencies"], *project["optional-dependencies"]["otel"], sep="\n")' > requirements.txt \
    && /opt/build/bin/pip --python /opt/flashu/bin/python install --constraint constraints.txt \
        --requirement requirements.txt
RUN if [ -n "$FLASH_ATTN" ]; then \
        /opt/build/bin/pip --python /opt/flashu/bin/python install --constraint constraints.txt \
            --only-binary :all: "$FLASH_ATTN"; \
    fi
COPY README.md LICENSE ./
COPY flashu_core flashu_core
COPY server server
COPY shapes shapes
COPY load_tests/bench load_tests/bench
RUN /opt/build/bin/pip --python /opt/flashu/bin/python install --no-deps .

# Nothing runs in this stage: it only receives, so no tool, cache or secret of a build can stay in it.
FROM python
ARG BASE
ARG VERSION=0.2.0
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="FlashU Server" \
      org.opencontainers.image.description="Online inference server for native unified models (Show-o2)" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"
# Programs look their user up by number; the base's own entries stay.
COPY --from=build /etc/passwd /etc/group /etc/
COPY --from=build /opt/flashu /opt/flashu
COPY --from=build --chown=10001:10001 /cache /cache
COPY docker/entrypoint.sh docker/healthcheck.py /opt/flashu/container/
# Models, and whatever a library keeps below its user's home, go to the one volume; everything else may be read-only.
# PYTHONSAFEPATH: the working directory is no place to find modules in. NVIDIA_...: what of the driver is to be mounted.
# LD_LIBRARY_PATH: where some clusters mount it, and not where the base has CUDA, which would go before torch's own.
ENV PATH="/opt/flashu/bin:${PATH}" \
    HOME=/cache \
    HF_HOME=/cache/huggingface \
    TRITON_CACHE_DIR=/cache/triton \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 \
    FLASHU_HOST=0.0.0.0
VOLUME /cache
WORKDIR /opt/flashu
USER 10001:10001
EXPOSE 8000
# The start period is as long as FLASHU_LOAD_TIMEOUT_S lets loading take: until then a failure is no verdict.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
    CMD ["python", "-I", "-S", "/opt/flashu/container/healthcheck.py"]
# The entrypoint replaces itself by the server, which so is process 1, takes SIGTERM and reaps its worker. Nothing else is
# ever its child, so no init is needed; one (--init) makes a difference only to a SIGTERM in the second before Python runs.
ENTRYPOINT ["/opt/flashu/container/entrypoint.sh"]
