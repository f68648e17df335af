#!/usr/bin/env bash
# Nothing listens, and nothing is sent without being asked: the kernel's own record (strace) of what the programs ask of a network while the
# main job is done on the embedded model, and while the window is open. Only the display and the desktop's own bus are spoken to.
#
#     tests/outside/network.sh SAE [SAE_APP]
set -euo pipefail
sae=$(realpath "$1")
app=${2:+$(realpath "$2")}
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill $server; rm -rf "$work"' EXIT
cd "$work"
export HF_HUB_CACHE=$work/hub XDG_CONFIG_HOME=$work/config SAE_CACHE=$work/cache

# What it asks of a network goes to NAME.log; the command may fail.
watch() {
    local name=$1
    shift
    strace -f -qq -e trace=socket,bind,listen,connect,sendto,sendmsg -o "$name.log" "$@" >"$name.out" 2>&1
}
# Sockets that leave the machine, and whoever waits to be called.
heard() { grep -E 'socket\(AF_(INET|INET6|PACKET|NETLINK)|sa_family=AF_INET|listen\(' "$1.log"; }
silent() {
    local name=$1
    watch "$@" || { cat "$name.out" >&2; exit 1; }
    if heard "$name"; then
        echo "sae $name asks something of a network" >&2
        exit 1
    fi
}

mkdir text
for i in $(seq 300); do echo "The court held that claim $i of the lease was void, and the tenant left." >>text/$((i % 12)).txt; done
silent harvest "$sae" harvest --text text --hook blocks.1.hook_resid_post --routing --tokens 2000 --out data
silent train "$sae" train --data data --d-sae 48 --k 6 --batch 64 --tokens 6000 --out run
silent index "$sae" index run
silent explain "$sae" explain run
silent evaluate "$sae" evaluate run --all-documents
silent inspect "$sae" inspect default
silent prompt "$sae" prompt run --text "The court held"
silent export "$sae" export run --to html --out pages
jobs="harvest, train, index, explain, evaluate, inspect, prompt, export"

# What is asked for is seen: else none of the above would show anything.
if HF_ENDPOINT=http://127.0.0.1:9 watch control "$sae" inspect nobody/nothing || ! heard control >/dev/null; then
    echo "a model of the hub was asked for, and no connection was seen" >&2
    exit 1
fi

if [ -n "$app" ]; then
    exec 3< <(exec Xvfb -displayfd 1 -screen 0 1360x860x24 -nolisten tcp -noreset 2>/dev/null)
    server=$!
    read -r number <&3
    (DISPLAY=:$number watch window timeout --preserve-status 25 "$app" run || true) &
    for _ in $(seq 24); do
        sleep 1
        [ -z "$(DISPLAY=:$number xdotool search --name 'SAE Workbench' 2>/dev/null)" ] || break
    done
    [ -n "$(DISPLAY=:$number xdotool search --name 'SAE Workbench' 2>/dev/null)" ] || { cat window.out >&2; exit 1; }
    wait %1 || true
    grep -q 'connect(.*AF_UNIX' window.log
    if heard window; then
        echo "the window asks something of a network" >&2
        exit 1
    fi
    jobs="$jobs, the window"
fi
echo "nothing listens and nothing is sent: $jobs"
