# The image of nigh: docker build -t nigh . && docker run -p 6333:6333 -v nigh:/data nigh
#
# It listens on all addresses. Set NIGH__SERVICE__API_KEY, or publish the port to 127.0.0.1 only.
# It runs with --read-only, --cap-drop ALL and --user 1000; only /data is written to.

FROM debian:bookworm-slim AS build
ARG COMMIT=0000000000000000000000000000000000000000
WORKDIR /src
COPY config/install_packages.sh config/
RUN apt-get update && config/install_packages.sh build
COPY . .
RUN make -j"$(nproc)" COMMIT="$COMMIT" all && strip build/nigh

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
       libuv1 liblmdb0 libxxhash0 libyaml-0-2 libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 nigh \
    && useradd --uid 1000 --gid 1000 --no-create-home --shell /usr/sbin/nologin nigh \
    && mkdir -p /data \
    && chown 1000:1000 /data
COPY --from=build /src/build/nigh /usr/local/bin/nigh
ENV NIGH__SERVICE__HOST=0.0.0.0
ENV NIGH__STORAGE__STORAGE_PATH=/data
WORKDIR /data
USER 1000:1000
VOLUME /data
EXPOSE 6333
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/usr/local/bin/nigh", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/nigh"]
CMD ["serve"]
