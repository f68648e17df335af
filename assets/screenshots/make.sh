#!/usr/bin/env bash
# Makes the pictures and the animation of the README from the real program on a folder of `sae demo`:
#     assets/screenshots/make.sh FOLDER [PROGRAM]
# Needs Xvfb, xdotool and ImageMagick (Debian: xvfb xdotool imagemagick, and the libraries of .ci/run).
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(realpath "${1:?usage: make.sh FOLDER [PROGRAM]}")
program=$(realpath "${2:-target/release/sae-app}")
run=$(dirname "$(dirname "$(find "$folder" -name features.parquet -path '*/features/*' | sort | head -1)")")
home=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$home"' EXIT

exec 3<>"$home/number"
Xvfb -displayfd 3 -screen 0 1360x860x24 -nolisten tcp -noreset 2>/dev/null &
until [ -s "$home/number" ]; do sleep 0.1; done
DISPLAY=:$(cat "$home/number")
export DISPLAY XDG_CONFIG_HOME="$home" XDG_RUNTIME_DIR="$home"
mkdir -p "$home/sae-workbench"

# open ADDRESS: starts the window there.
open() {
    echo "{\"theme\": \"dark\", \"recent\": [\"$folder\"]}" >"$home/sae-workbench/window.json"
    "$program" "$1" 2>/dev/null &
    window=$!
    until xdotool search --name 'SAE Workbench$' >/dev/null 2>&1; do sleep 0.1; done
    # There is no window manager to give it the keyboard.
    until xdotool windowfocus "$(xdotool search --name 'SAE Workbench$' | head -1)" 2>/dev/null; do sleep 0.1; done
    xdotool mousemove --sync 1359 859
}

close() {
    kill "$window" && wait "$window" 2>/dev/null || true
}

# shoot FILE: the screen, once nothing moves any more.
shoot() {
    local last="" now=""
    for _ in $(seq 60); do
        sleep 1
        import -window root "$home/now.png"
        now=$(identify -format '%#' "$home/now.png")
        [ "$now" = "$last" ] && break
        last=$now
    done
    cp "$home/now.png" "$1"
}

# picture NAME ADDRESS
picture() {
    open "$2"
    shoot "$home/$1.png"
    close
    convert "$home/$1.png" -strip -define png:compression-level=9 "assets/screenshots/$1.png"
    echo "assets/screenshots/$1.png"
}

# The animation: from the curves to a feature by its number, its examples, its effects, the experts, a text of one's own.
animation() {
    local frame=0
    next() {
        frame=$((frame + 1))
        shoot "$home/$(printf 'frame%02d' $frame).png"
    }
    # go WORDS: the command palette, as a person types into it.
    go() {
        xdotool key --clearmodifiers ctrl+p
        sleep 0.5
        xdotool type --delay 40 "$1"
        next
        xdotool key Return
        next
    }
    open "$run#curves"
    next
    go "${FEATURE:-7}"
    xdotool mousemove --sync 900 600 click --repeat 8 --delay 60 5
    next
    xdotool mousemove --sync 1359 859
    go "experts"
    close
    convert -delay 180 "$home"/frame*.png -resize 1020x -dither None -colors 96 -layers optimize assets/screenshots/tour.gif
    echo "assets/screenshots/tour.gif"
}

picture runs "$run#curves"
picture feature "$run#feature=${FEATURE:-7}"
animation
