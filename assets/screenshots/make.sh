#!/usr/bin/env bash
# Makes the pictures of the README from the real program on a folder of `sae demo`:
#     assets/screenshots/make.sh FOLDER [PROGRAM]
# Needs Xvfb, xdotool and ImageMagick (Debian: xvfb xdotool imagemagick, and the libraries of .ci/run).
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath "${1:?usage: make.sh FOLDER [PROGRAM]}")
program=$(realpath "${2:-target/release/sae-app}")
run=$(dirname "$(find "$folder" -name features.parquet -path '*/features/*' | sort | head -1)")
run=$(dirname "$run")
home=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$home"' EXIT

exec 3<>"$home/number"
Xvfb -displayfd 3 -screen 0 1360x860x24 -nolisten tcp 2>/dev/null &
until [ -s "$home/number" ]; do sleep 0.1; done
DISPLAY=:$(cat "$home/number")
export DISPLAY XDG_CONFIG_HOME="$home" XDG_RUNTIME_DIR="$home"

# picture NAME ADDRESS LOOK
picture() {
    mkdir -p "$home/sae-workbench"
    echo "{\"theme\": \"$3\", \"recent\": [\"$folder\"]}" >"$home/sae-workbench/window.json"
    "$program" "$2" 2>/dev/null &
    local pid=$!
    until xdotool search --name 'SAE Workbench$' >/dev/null 2>&1; do sleep 0.1; done
    xdotool mousemove --sync 1359 859
    # Until nothing moves any more.
    local last="" now=""
    for _ in $(seq 60); do
        sleep 1
        import -window root "$home/now.png"
        now=$(identify -format '%#' "$home/now.png")
        [ "$now" = "$last" ] && break
        last=$now
    done
    convert "$home/now.png" -strip -define png:compression-level=9 "assets/screenshots/$1.png"
    kill "$pid" && wait "$pid" 2>/dev/null || true
    echo "assets/screenshots/$1.png"
}

picture runs "$run#curves" dark
picture feature "$run#feature=${FEATURE:-7}" dark
