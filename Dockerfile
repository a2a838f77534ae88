# The image of koobridge: script/image builds it, deploy/README.md says how it is run. Docker needs BuildKit, which it
# has had by default since version 23; podman needs --format docker, or it leaves the health check out.

FROM docker.io/library/rust:1.95-slim-trixie AS build
# OpenSSL and zlib are the system's; librdkafka and zstd are compiled from source.
# Debian drops a version as soon as it has a safer one: a pinned one would not be found.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY script/build script/tool script/
COPY schemas/event.schema.json schemas/
COPY src src
# Downloads and objects stay for the next build, those of each architecture by themselves. cargo judges by the times of
# files, which are older than the objects if an older source is unpacked: the program itself is always built again.
ARG TARGETARCH
RUN --mount=type=cache,id=koobridge-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=koobridge-target-$TARGETARCH,target=/src/target,sharing=locked \
    touch src/lib.rs src/main.rs \
    && script/build \
    && cp target/release/koobridge /usr/local/bin/ \
    && cp "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" /usr/local/share/

FROM docker.io/library/debian:trixie-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3t64 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    # A new volume that is mounted here has the same owner.
    && install -d -m 700 -o 10001 -g 10001 /var/lib/koobridge
COPY --from=build /usr/local/bin/koobridge /usr/local/bin/koobridge
# The licences of the image's contents: Debian's packages have theirs beside this one.
COPY LICENSE deploy/notices/THIRD-PARTY-NOTICES.txt /usr/share/doc/koobridge/
COPY --from=build /usr/local/share/COPYRIGHT-library.html /usr/share/doc/koobridge/
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="koobridge" \
      org.opencontainers.image.description="A webhook-to-Kafka bridge for KooMessage WhatsApp status reports" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim"
USER 10001:10001
EXPOSE 18446 18447
# Not /readyz: engines can restart an unhealthy container, and a restart does not bring Kafka back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["koobridge", "health", "/livez"]
ENTRYPOINT ["koobridge"]
CMD ["serve"]
