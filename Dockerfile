# pets in a container, in the versions of locks/, with their hashes.
#   docker build -t pets --build-arg DEVICE=cpu .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" --shm-size 2g pets train experiment=quickstart
#   docker build -t pets-cuda --build-arg DEVICE=cuda .    # then: docker run --gpus all ...
ARG PYTHON=3.13

FROM python:${PYTHON}-trixie AS build
WORKDIR /build
COPY Makefile ./
COPY locks/tools.txt locks/
RUN make tools VENV=/opt/tools && /opt/tools/bin/uv venv --python /usr/local/bin/python3 /opt/pets
ENV VIRTUAL_ENV=/opt/pets UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=300

# cpu: the same torch without CUDA, of PyTorch's own index, which uv knows. These two wheels alone have no
# hash in locks/. cuda: torch as it is in locks/.
ARG DEVICE=cpu
COPY locks/all.txt locks/
RUN --mount=type=cache,target=/root/.cache/uv \
    case "$DEVICE" in \
      cpu) grep -oE '^torch(vision)?==[^ ]+' locks/all.txt > /tmp/torch.txt && \
           /opt/tools/bin/uv pip install --no-deps --torch-backend cpu -r /tmp/torch.txt ;; \
      cuda) ;; \
      *) echo "DEVICE=$DEVICE: expected cpu or cuda" >&2 && exit 1 ;; \
    esac

# Of the extras those that train, check, serve and export; others: --build-arg EXTRAS="weights lora".
ARG EXTRAS="weights verify heic serve export"
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/uv \
    set --; for extra in $EXTRAS; do set -- "$@" --extra "$extra"; done; \
    /opt/tools/bin/uv pip install "$@" -b locks/tools.txt -c locks/all.txt -r pyproject.toml

# The whole repository, for the version is that of its last tag.
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/tools/bin/uv pip install --no-deps -b locks/tools.txt .

FROM python:${PYTHON}-slim-trixie
RUN useradd --uid 10001 --user-group --create-home pets && install -d -o pets -g pets /work
COPY --from=build /opt/pets /opt/pets
# With the NVIDIA Container Toolkit: which GPUs, and what of the driver.
ENV PATH=/opt/pets/bin:$PATH NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["pets"]
CMD ["--help"]
