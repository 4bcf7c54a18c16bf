# The image of Remora: one program, bundled, on a base with Node.js 24, nft and ip. See docs/image.md.
#
#   docker buildx build --platform linux/amd64,linux/arm64 .
#   npm run image -- --base docker.io/library/node:24.21.0-bookworm-slim

# Give a digest (node@sha256:…) where builds must be repeatable to the last byte of the base. Needs glibc and env(1).
ARG BASE=docker.io/library/node:24.21.0-bookworm-slim
# Where the program is built, always on the CPU of the builder. Needs Node.js 20 or newer with npm, and tar.
ARG BUILD_BASE=docker.io/library/node:24.21.0-bookworm-slim

FROM --platform=$BUILDPLATFORM ${BUILD_BASE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
COPY scripts scripts
# `npm ci --ignore-scripts` from the lockfile, under whatever Node.js the base has. A registry of your own and its
# certificate come as secrets, which are in no layer; both may be absent.
RUN --mount=type=secret,id=npmrc,target=/run/secrets/npmrc \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    . scripts/image/npm-secrets.sh && npm run --silent setup
COPY LICENSE ./
COPY src src
ARG TARGETARCH
# npm has installed native code for the CPU of the builder alone; that of another is fetched, and checked like the rest.
RUN --mount=type=secret,id=npmrc,target=/run/secrets/npmrc \
    --mount=type=secret,id=ca,target=/run/secrets/ca \
    . scripts/image/npm-secrets.sh && sh scripts/image/layer.sh "$TARGETARCH" /layer

FROM ${BASE} AS runtime
# nft and ip are all that `remora init` starts. Package managers have no work in a sidecar, and scanners report what they
# bring: they are out of reach, although the base's own layers keep their bytes.
RUN set -e; \
    if ! command -v nft >/dev/null || ! command -v ip >/dev/null; then \
      apt-get -q update; \
      apt-get -q install -y --no-install-recommends nftables iproute2; \
      rm -rf /var/lib/apt/lists/*; \
    fi; \
    for tool in env node nft ip; do command -v "$tool" >/dev/null || { echo "The base has no $tool" >&2; exit 1; }; done; \
    rm -rf /usr/local/lib/node_modules /opt/yarn-v* \
      /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack /usr/local/bin/yarn /usr/local/bin/yarnpkg
# A stage of its own, so that with every builder the application is one layer and the base's are shared.
FROM runtime
# The application layer: /opt/remora and the link /usr/local/bin/remora.
COPY --from=build /layer/ /
WORKDIR /
# The sidecar's user, whom the redirect rules let pass; numbers, because the base knows no such name.
USER 1337:1337
ENTRYPOINT ["remora"]
# Last, so that they take no layer before them out of the cache.
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="Remora" \
      org.opencontainers.image.description="A per-pod service-mesh sidecar: mutual TLS with short-lived SPIFFE identities" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
