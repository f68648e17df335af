#!/usr/bin/env bash
# The first minutes of somebody who has nothing but Rust and a C compiler: a bare Debian root, a fresh clone, the two commands of the README.
# First without a display, then with one, and then with no package but those that the program asks for. Run by hand, as root on Debian
# (debootstrap xvfb xdotool imagemagick): it fetches Debian's packages and all crates, and builds them.
#
#     tests/outside/newcomer.sh WORK          WORK gets the root, 3 GB; what is there already is used again
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(realpath -m "$1")
root=$work/root
mkdir -p "$work"

[ -e "$root/etc/debian_version" ] ||
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$root" http://deb.debian.org/debian >"$work/debootstrap.log"
mkdir -p "$root/opt/rust" "$root/tmp/.X11-unix" "$root/home/new"
[ -e "$root/home/new/sae-workbench" ] || git clone -q --depth 1 "file://$PWD" "$root/home/new/sae-workbench"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# A network that looks into TLS has an authority of its own, which this machine trusts.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
chroot "$root" id new >/dev/null 2>&1 || chroot "$root" useradd -d /home/new -s /bin/bash new
chroot "$root" chown -R new:new /home/new

# As a person who is nobody special, with Rust where rustup would have put it, in mounts that end with the command.
export SYSROOT; SYSROOT=$(rustc --print sysroot)
as_new() {
    unshare --mount bash -c '
        mount --bind "$SYSROOT" "$0/opt/rust"; mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"
        mount --bind /tmp/.X11-unix "$0/tmp/.X11-unix" 2>/dev/null
        exec chroot --userspec=new:new "$0" /usr/bin/env -i HOME=/home/new PATH=/opt/rust/bin:/usr/bin:/bin "${@:2}" bash -c "cd ~/sae-workbench && $1"
    ' "$root" "$@"
}
now() { date +%s; }
mkdir -p /tmp/.X11-unix

began=$(now)
as_new "cargo fetch -q --locked"
echo "crates fetched: $(($(now) - began)) s"
began=$(now)
as_new "cargo build -q --release --locked --timings --bin sae"
echo "sae built: $(($(now) - began)) s"
began=$(now)
as_new "cargo run -q --release --bin sae -- demo --quiet" >"$work/demo.txt"
echo "demo: $(($(now) - began)) s"
cat "$work/demo.txt"
began=$(now)
as_new "cargo build -q --release --locked --timings --bin sae-app"
echo "sae-app built: $(($(now) - began)) s"

window="cargo run -q --release --bin sae-app -- sae-demo"
refused() {
    if said=$(as_new "$window" "$@" 2>&1); then
        echo "the window opened where it cannot" >&2
        exit 1
    fi
    echo "$said"
}
packages() { sed -n 's/.*apt-get install \([a-z0-9. -]*\).*/\1/p' | head -1; }

# Without a display: what is missing, and how to do without.
said=$(refused)
echo "without a display: $said"
grep -q "display" <<<"$said"

exec 3< <(exec Xvfb -displayfd 1 -screen 0 1360x860x24 -nolisten tcp -noreset 2>/dev/null)
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
read -r number <&3
# With one: the packages that are missing, until there is a window. Each answer must name some, and not the same again.
asked=
for _ in 1 2 3 4; do
    as_new "$window" "DISPLAY=:$number" >"$work/window.log" 2>&1 &
    program=$!
    for _ in $(seq 120); do
        found=$(DISPLAY=":$number" xdotool search --name "SAE Workbench" 2>/dev/null || true)
        if [ -n "$found" ] || ! kill -0 $program 2>/dev/null; then break; fi
        sleep 1
    done
    [ -z "$found" ] || break
    wait $program && exit 1
    echo "with a display: $(cat "$work/window.log")"
    wanted=$(packages <"$work/window.log")
    if [ -z "$wanted" ] || [ "$wanted" = "$asked" ]; then
        echo "the program does not name what is missing" >&2
        exit 1
    fi
    asked=$wanted
    # shellcheck disable=SC2086
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >"$work/apt.log" 2>&1
done
[ -n "$found" ] || { echo "no window" >&2; exit 1; }
sleep 15
DISPLAY=":$number" import -window root "$work/window.png"
colours=$(identify -format %k "$work/window.png")
echo "the window: $colours colours, $work/window.png"
[ "$colours" -gt 100 ]
# Its children are in the same group.
kill "$(DISPLAY=":$number" xdotool getwindowpid "$(head -1 <<<"$found")")" 2>/dev/null || kill $program
wait $program || true
