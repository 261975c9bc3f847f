# An image that runs `denoise` on a CPU. Building it needs BuildKit, Docker's default since version 23.
#
#   docker build -t denoise .
#   docker run --rm -v "$PWD:/data" denoise image in.jpg -o out.png
#
# On Linux, add `--user "$(id -u):$(id -g)"` unless your user ID is 1000, so that the program may write to your folder.
# Add `-v denoise-cache:/cache` to keep compiled networks, which saves some seconds at the start of every later run.
#
# The image contains GPL code, in the wheels of PyAV and imageio-ffmpeg (x264, x265): see the end of README.md before you
# pass it on.
FROM python:3.12-slim

# PyPI's PyTorch for Linux brings CUDA along; pip prefers the builds of PyTorch's own index, which are for CPUs alone.
# The source is mounted rather than copied: once installed, it is not needed.
RUN --mount=type=bind,target=/source,rw \
    pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -c /source/constraints.txt /source

# Anybody may write to /cache, whichever user the image runs as.
RUN useradd --uid 1000 --create-home denoise && install --directory --mode 1777 /cache
ENV XDG_CACHE_HOME=/cache

USER 1000
WORKDIR /data
ENTRYPOINT ["denoise"]
