#!/bin/sh
# nginx as it is, and proem in a container beside it: a shared volume for the files, a shared PID namespace for the signal.
set -eu
cd "$(dirname "$0")"
id=proem-example-sidecar-reloader-$$
image=$(docker build -q --build-arg PROEM="${PROEM_IMAGE:-proem}" .)
config=$(mktemp -d)
chmod 755 "$config"
trap 'docker rm -f -v $id-proem $id-nginx >/dev/null 2>&1; docker volume rm $id >/dev/null 2>&1; rm -rf "$config"' EXIT

publish() {
    echo "$1" >"$config/.new"
    mv "$config/.new" "$config/greeting"
}
# Prints the page once it is the wanted one; gives up after a while.
expect() {
    for _ in $(seq 100); do
        page=$(docker run --rm --network "container:$id-nginx" "${BUSYBOX_IMAGE:-busybox:1}" wget -q -O - http://127.0.0.1/ 2>/dev/null || true)
        if [ "$page" = "$1" ]; then echo "page: $1"; return; fi
        sleep 0.1
    done
    echo "the page never became: $1" >&2
    docker logs "$id-proem" >&2
    docker logs "$id-nginx" >&2
    exit 1
}
started() { docker inspect --format '{{.State.StartedAt}}' "$id-nginx"; }

docker volume create "$id" >/dev/null
publish hello
echo "-- the first files, before nginx starts (in Kubernetes: an init container)"
docker run --rm -v "$config:/config:ro" -v "$id:/etc/nginx/conf.d" "$image" -c /proem.toml render
docker run -d --name "$id-nginx" -v "$id:/etc/nginx/conf.d:ro" "${NGINX_IMAGE:-nginx:1}" >/dev/null
expect hello
start=$(started)

echo "-- proem stays beside it"
docker run -d --name "$id-proem" --pid "container:$id-nginx" -v "$config:/config:ro" -v "$id:/etc/nginx/conf.d" "$image" >/dev/null
publish bonjour
expect bonjour

echo "-- the sidecar is restarted, and a value changed meanwhile"
docker stop -t 5 "$id-proem" >/dev/null
publish salut
docker start "$id-proem" >/dev/null
expect salut
[ "$(started)" = "$start" ] && echo "nginx was reloaded, not restarted"
