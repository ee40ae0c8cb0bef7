#!/bin/sh
# Renders a template from a file of defaults with the environment over it; then starts a process that reads the result.
set -eu
cd "$(dirname "$0")"
proem=${PROEM:-proem}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "-- the defaults"
"$proem" render -s app=file:defaults.toml,env:APP_ -t app.conf.tera:-

echo "-- the environment over them"
APP_DB__HOST=db1 APP_DB__PORT=6432 "$proem" render -s app=file:defaults.toml,env:APP_ -t app.conf.tera:-

echo "-- render, then become the command"
APP_GREETING=hi "$proem" exec -s app=file:defaults.toml,env:APP_ -t app.conf.tera:"$work/app.conf" -- head -n 1 "$work/app.conf"
