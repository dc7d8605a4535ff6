# What both machines have in common: words for what is tried, and waiting with a deadline.

machine=$(cat /etc/hostname)
exec >>"/shared/$machine.log" 2>&1

ok() { echo "$machine ok: $*"; }

# The other machine need not wait until its own deadline.
fail() {
    echo "$machine FAILED: $*"
    systemctl status convoke.service --no-pager --full || true
    journalctl --unit convoke.service --no-pager --lines 60 || true
    touch /shared/failed
    exit 1
}

# see WHAT COMMAND...: it holds now.
see() {
    what=$1
    shift
    "$@" >/tmp/seen 2>&1 || { cat /tmp/seen; fail "$what"; }
    ok "$what"
}

# until WHAT COMMAND...: it comes to hold within three minutes.
until_seen() {
    what=$1
    shift
    deadline=$(($(date +%s) + 180))
    while ! "$@" >/tmp/seen 2>&1; do
        [ ! -e /shared/failed ] || fail "the other machine failed, before: $what"
        [ "$(date +%s)" -lt $deadline ] || { cat /tmp/seen; fail "$what"; }
        sleep 0.3
    done
    ok "$what"
}

is_not() { ! "$@"; }

# The other machine has come so far.
is_said() { [ -e "/shared/$1" ]; }

said() { touch "/shared/$1"; }

# The value that systemd has for the service.
property() { systemctl show --property "$1" --value convoke.service; }

# A line of what the kernel says about the process of the node.
kernel_says() { grep -q "$1" "/proc/$(property MainPID)/status"; }
