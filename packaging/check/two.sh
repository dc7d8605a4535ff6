# The second machine: joins with a token, leaves, and is purged.
. /opt/common.sh

see 'the package installs' dpkg -i /shared/convoke.deb
cat >/etc/convoke/convoke.toml <<'SETTINGS'
[network]
listen = "192.0.2.2:4701"
[api]
listen = "127.0.0.1:4781"
[logs]
directory = "/var/log/convoke"
SETTINGS
see 'the settings are right' convoke config-file check --config /etc/convoke/convoke.toml
until_seen 'there is a token' is_said token
see 'the token is for root alone' install -m 600 /shared/token /etc/convoke/join-token
see 'one command joins' systemctl enable --now convoke
see 'the node is ready' systemctl is-active convoke.service
see 'it did not make a cluster of its own' sh -c '! journalctl --unit convoke.service --no-pager | grep -q "A new cluster begins here"'
see 'the token is in no list of processes' sh -c '! grep -qa "$(cat /shared/token)" /proc/[0-9]*/cmdline'
until_seen 'it sees a healthy cluster' convoke status
see 'it writes lines where it may' [ -s /var/log/convoke/convoke.log ]
see 'the token may go' rm /etc/convoke/join-token
see 'it starts without one' systemctl restart convoke
until_seen 'it still belongs' convoke status
said two-is-here
until_seen 'the first machine is upgraded' is_said one-is-upgraded

see 'it leaves' convoke leave
see 'it is not started again' systemctl disable --now convoke
said two-is-gone
see 'it makes its directory nobody'\''s' runuser -u convoke -- convoke reset --yes --data /var/lib/convoke
see 'the key is gone' is_not [ -e /var/lib/convoke/node.key ]
see 'the package is purged' dpkg --purge convoke
see 'settings and lines are gone' is_not [ -e /etc/convoke -o -e /var/log/convoke ]
see 'the user is gone' is_not grep -q '^convoke:' /etc/passwd /etc/group
echo done
