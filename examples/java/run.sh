#!/bin/sh
# A Vault, and a Java service: its heap follows the container's memory, its credentials are in its environment and nowhere
# else, and it is started anew when they change.
set -eu
cd "$(dirname "$0")"
id=proem-example-java-$$
image=$(docker build -q --build-arg PROEM="${PROEM_IMAGE:-proem}" \
    ${JDK_IMAGE:+--build-arg JDK="$JDK_IMAGE" --build-arg JRE="$JDK_IMAGE"} .)
secrets=$(mktemp -d)
trap 'docker rm -f $id-vault $id-app >/dev/null 2>&1; docker network rm $id >/dev/null 2>&1; rm -rf "$secrets"' EXIT

vault() { docker exec -e VAULT_ADDR=http://127.0.0.1:8200 -e VAULT_TOKEN=example "$id-vault" vault "$@" >/dev/null 2>&1; }
start() {
    docker run -d --name "$id-app" --network "$id" --memory "$1" -v "$secrets:/run/secrets:ro" \
        -e "VAULT_ADDR=http://$id-vault:8200" -e VAULT_TOKEN_FILE=/run/secrets/vault-token "$image" >/dev/null
}
# Waits until the service has said so many lines, and shows the last.
says() {
    for _ in $(seq 200); do
        lines=$(docker logs "$id-app" 2>/dev/null)
        if [ "$(echo "$lines" | grep -c .)" = "$1" ]; then echo "$lines" | tail -n 1; return; fi
        sleep 0.1
    done
    docker logs "$id-app" >&2
    exit 1
}

echo example >"$secrets/vault-token"
chmod 755 "$secrets"
docker network create "$id" >/dev/null
docker run -d --name "$id-vault" --network "$id" -e VAULT_DEV_ROOT_TOKEN_ID=example "${VAULT_IMAGE:-hashicorp/vault:1.21}" >/dev/null

echo "-- it starts when its credentials are there"
start 256m
until vault kv put secret/shop username=shop password=tr0ub4dor; do sleep 0.2; done
says 1

echo "-- the password is another one: the service starts anew"
vault kv put secret/shop username=shop password=correct-horse-battery
says 2

echo "-- the password is in its environment, and nowhere else"
docker exec "$id-app" /proem status | grep -o 'vault:secret/shop?every=1s'
docker exec "$id-app" /proem status --format json >"$secrets/status"
docker logs "$id-app" >"$secrets/log" 2>&1
docker exec "$id-app" cat /proc/1/environ >"$secrets/environ"
if grep -q -e tr0ub4dor -e correct-horse "$secrets/status" "$secrets/log" "$secrets/environ"; then exit 1; fi
grep -c "reloaded main by restart" "$secrets/log"

echo "-- more memory, a larger heap"
docker rm -f "$id-app" >/dev/null
start 512m
says 1
