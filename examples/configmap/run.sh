#!/bin/sh
# A mounted ConfigMap changes as the kubelet changes it: each version is a directory, and `..data` is swapped to it.
set -eu
cd "$(dirname "$0")"
id=proem-example-configmap-$$
image=$(docker build -q --build-arg PROEM="${PROEM_IMAGE:-proem}" --build-arg BASE="${NGINX_IMAGE:-nginx:1}" .)
volume=$(mktemp -d)
chmod 755 "$volume"
trap 'docker rm -f $id >/dev/null 2>&1; rm -rf "$volume"' EXIT

publish() {
    mkdir "$volume/..version-$1"
    echo "$2" >"$volume/..version-$1/greeting"
    ln -s "..version-$1" "$volume/..data_tmp"
    mv -T "$volume/..data_tmp" "$volume/..data"
    [ -L "$volume/greeting" ] || ln -s ..data/greeting "$volume/greeting"
}
expect() {
    for _ in $(seq 100); do
        page=$(docker run --rm --network "container:$id" "${BUSYBOX_IMAGE:-busybox:1}" wget -q -O - http://127.0.0.1/ 2>/dev/null || true)
        if [ "$page" = "$1" ]; then echo "page: $1"; return; fi
        sleep 0.1
    done
    echo "the page never became: $1" >&2
    docker logs "$id" >&2
    exit 1
}

publish 1 hello
docker run -d --name "$id" -v "$volume:/config:ro" "$image" >/dev/null
expect hello
publish 2 bonjour
expect bonjour
publish 3 salut
expect salut
