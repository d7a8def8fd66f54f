# A node in a container: one static program, the certificates that public TLS servers are signed with, and nothing else.
#
#   docker build -t leasehold:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#
# docs/containers.md says how it is run.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
# Static, because the image has no C library. Only for the target: macros are libraries that the compiler loads.
ENV CARGO_PROFILE_SHIPPED_STRIP=symbols CARGO_TARGET_DIR=/build/target RUSTFLAGS="-C target-feature=+crt-static"
# A layer with the dependencies, which stays while Cargo.lock does. Tests and benches are not built, but Cargo looks for them.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it benches/limits && \
    touch src/lib.rs src/main.rs tests/it/main.rs benches/limits/main.rs benches/renewals.rs benches/token.rs && \
    echo 'fn main() {}' >src/main.rs && \
    cargo build --locked --profile shipped --bin leasehold --target "$(rustc --print host-tuple)"
COPY build.rs build.rs
COPY build build
COPY clients/spec/errors.json clients/spec/errors.json
COPY docs/performance.md docs/performance.md
COPY docs/runbooks docs/runbooks
COPY lua lua
COPY web web
COPY src src
# Copied files keep their age, and the empty ones from above are younger.
RUN touch src/lib.rs src/main.rs && \
    cargo build --locked --profile shipped --bin leasehold --target "$(rustc --print host-tuple)" && \
    install -D "target/$(rustc --print host-tuple)/shipped/leasehold" /image/usr/local/bin/leasehold && \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt
COPY LICENSE-* /image/usr/share/doc/leasehold/
# The licences of the crates in the program go where it goes.
COPY scripts/notices.sh scripts/notices.sh
RUN scripts/notices.sh /image/usr/share/doc/leasehold/NOTICES

# To look at: a Redis inside, a pool with five seats, and a key that is printed. Its data goes with the container.
#
#   docker build --target demo -t leasehold-demo . && docker run --rm -p 127.0.0.1:7070:7070 leasehold-demo
FROM redis:7.2.16-bookworm AS demo
COPY --from=build /image/ /
COPY deploy/docker/demo.sh /demo.sh
USER redis
ENV LEASEHOLD_LISTEN=0.0.0.0:7070 LEASEHOLD_DATA_DIR=/data/leasehold
EXPOSE 7070
ENTRYPOINT ["sh", "/demo.sh"]

FROM scratch
COPY --from=build /image/ /
# Nobody in particular: the container needs no user of the host, no home, and nothing that can be written to.
USER 65532:65532
# Reachable from the balancer. With this, the program refuses to start without admin_key.
ENV LEASEHOLD_LISTEN=0.0.0.0:7070
EXPOSE 7070
# Alive, not ready: whoever restarts what is unhealthy must not restart all nodes because Redis is away.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["leasehold", "healthcheck"]
ENTRYPOINT ["leasehold"]
CMD ["serve"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Leasehold" \
      org.opencontainers.image.description="Floating licences for your own product: an exact seat counter on Redis" \
      org.opencontainers.image.source="https://example.invalid/leasehold" \
      org.opencontainers.image.url="https://example.invalid/leasehold" \
      org.opencontainers.image.documentation="https://example.invalid/leasehold/blob/main/docs/containers.md" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
