# Not run yet where this was written, for want of a container engine. It needs BuildKit, which
# Docker has had by default since version 23.

FROM rust:1.95-slim-bookworm AS build
# OpenSSL and zlib are the system's; librdkafka and zstd are compiled from source.
# Debian drops a version as soon as it has a safer one: a pinned one would not be found.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# What was downloaded and built stays for the next time: only what changed is built again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked \
    && cp target/release/koobridge /usr/local/bin/

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/koobridge /usr/local/bin/koobridge
USER 10001:10001
EXPOSE 18446 18447
ENTRYPOINT ["koobridge"]
CMD ["serve"]
