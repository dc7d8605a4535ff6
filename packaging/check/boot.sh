# boot.sh PLACE: boots the machines PLACE/one and PLACE/two, and waits for both. To be run in a network of its own.
#
# Both are in that one network, at 192.0.2.1 and 192.0.2.2 (addresses for examples), and share PLACE/shared. Not every kernel has other devices than
# this one.
set -e
place=$1
ip link set lo up
ip addr add 192.0.2.1/24 dev lo
ip addr add 192.0.2.2/24 dev lo
# Each machine has control groups of its own. Where systemd runs it gives them; elsewhere they are made here, or the machines would share one tree and
# take away each other's services.
keep=
if [ ! -d /run/systemd/system ]; then keep=--keep-unit; fi
boot() {
    group=convoke-check-$1-$$
    if [ -n "$keep" ]; then
        for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
            [ -w "$tree/cgroup.procs" ] || continue
            mkdir -p "$tree/$group"
            sh -c 'echo $PPID' >"$tree/$group/cgroup.procs"
        done
    fi
    exec systemd-nspawn --quiet --boot --register=no $keep --console=pipe --machine="convoke-check-$1" \
        --bind="$place/shared:/shared" --directory="$place/$1" </dev/null
}
boot one &
first=$!
boot two &
second=$!
status=0
wait $first || status=$?
wait $second || status=$?
# They are empty now, apart from groups that services left.
for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    for group in "$tree/convoke-check-one-$$" "$tree/convoke-check-two-$$"; do
        if [ -d "$group" ]; then find "$group" -depth -type d -exec rmdir {} + || true; fi
    done
done
exit $status
