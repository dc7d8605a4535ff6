# The first machine: makes the cluster, with the settings as they come.
. /opt/common.sh

see 'the package installs' dpkg -i /shared/convoke.deb
see 'nothing is started' is_not systemctl is-active convoke.service
see 'nothing is enabled' is_not systemctl is-enabled convoke.service
see 'the user is there and cannot log in' grep -q '^convoke:.*nologin' /etc/passwd
see 'the settings are right' convoke config-file check --config /etc/convoke/convoke.toml
see 'the unit is right' systemd-analyze verify /usr/lib/systemd/system/convoke.service

see 'one command makes a cluster' systemctl enable --now convoke
see 'the node is ready' systemctl is-active convoke.service
see 'it runs as its user' [ "$(stat -c %U "/proc/$(property MainPID)")" = convoke ]
see 'it may not become more' kernel_says '^NoNewPrivs:.*1'
see 'it has no capabilities' kernel_says '^CapBnd:.*0000000000000000'
see 'its calls are filtered' kernel_says '^Seccomp:.*2'
see 'its directory is its own' [ "$(stat -c %U:%a /var/lib/convoke)" = convoke:700 ]
see 'the watchdog is fed' [ "$(property WatchdogTimestampMonotonic)" -gt 0 ]
until_seen 'root asks how the cluster is' convoke status
cp /etc/convoke/convoke.toml /tmp/settings
printf '[log]\nsegment = "32MiB"\n' >>/etc/convoke/convoke.toml
see 'a reload passes' systemctl reload convoke
until_seen 'the settings were read again' sh -c 'journalctl --unit convoke.service --no-pager | grep -q "waits for the next start"'
cp /tmp/settings /etc/convoke/convoke.toml
see 'the journal has its words' sh -c 'journalctl --unit convoke.service --no-pager | grep -q "A new cluster begins here"'
see 'who may not is told so' sh -c 'runuser -u nobody -- convoke status 2>&1 | tee /dev/stderr | grep -q "another user"'
see 'root does not write into the directory of the node' sh -c 'convoke reset --yes 2>&1 | grep -q runuser'

first=$(property MainPID)
kill -9 "$first"
until_seen 'a node that crashed is started again' sh -c "[ \$(systemctl show --property MainPID --value convoke.service) != $first ] && systemctl is-active convoke.service"
until_seen 'it is as before' convoke status

see 'a token is made' sh -c 'convoke token create >/tmp/token'
head -n 1 /tmp/token >/shared/part
mv /shared/part /shared/token
until_seen 'the other node is here' is_said two-is-here
see 'both are listed' sh -c '[ "$(convoke node ls --json | wc -l)" = 2 ]'
until_seen 'the cluster of two is healthy' convoke status

before=$(property MainPID)
see 'the package is installed over itself' dpkg -i /shared/convoke.deb
until_seen 'the node runs the new program' sh -c "[ \$(systemctl show --property MainPID --value convoke.service) != $before ] && systemctl is-active convoke.service"
until_seen 'the cluster is healthy after the upgrade' convoke status
see 'the settings were kept' [ -e /etc/convoke/convoke.toml ]
said one-is-upgraded
until_seen 'the other node left' is_said two-is-gone
until_seen 'the cluster of one is healthy' convoke status

key=$(sha256sum /var/lib/convoke/node.key)
see 'the package can be removed' dpkg --remove convoke
see 'the node was stopped' is_not systemctl is-active convoke.service
see 'the settings stay' [ -e /etc/convoke/convoke.toml ]
see 'the package can be purged' dpkg --purge convoke
see 'the user is gone' is_not grep -q '^convoke:' /etc/passwd /etc/group
see 'settings and lines are gone' is_not [ -e /etc/convoke -o -e /var/log/convoke ]
see 'nothing is enabled any more' is_not [ -L /etc/systemd/system/multi-user.target.wants/convoke.service ]
see 'the data is there' [ "$(sha256sum /var/lib/convoke/node.key)" = "$key" ]
see 'the data is nobody else'\''s' [ -z "$(find /var/lib/convoke ! -user root -print -quit)" ]

see 'it installs again' dpkg -i /shared/convoke.deb
see 'it starts where it stopped' systemctl start convoke
see 'it is the same node' [ "$(sha256sum /var/lib/convoke/node.key)" = "$key" ]
see 'the data is its own again' [ -z "$(find /var/lib/convoke ! -user convoke -print -quit)" ]
until_seen 'the cluster is healthy again' convoke status
see 'it is purged in one go' dpkg --purge convoke
see 'the data can be removed' rm -r /var/lib/convoke
echo done
