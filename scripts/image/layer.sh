#!/bin/sh
# Makes the application layer of the image: layer.sh <amd64|arm64> <folder>
set -eu
case "$1" in
  amd64) cpu=x64 ;;
  arm64) cpu=arm64 ;;
  *) echo "Remora's image is for amd64 and arm64, not for '$1'" >&2; exit 64 ;;
esac
umask 022
remora=$2/opt/remora
mkdir -p "$remora" "$2/usr/local/bin"
npm run --silent build -- src/main.ts "$remora" --image --cpu "$cpu"
npm run --silent sbom -- --cpu "$cpu" > "$remora/sbom.cdx.json"
cp LICENSE "$remora/LICENSE"
chmod 755 "$remora/main.mjs"
ln -s /opt/remora/main.mjs "$2/usr/local/bin/remora"
