# A day of an operator: a project is made, looked at, tagged, cleaned up, and the server checked.
# Runs in a directory that holds a tree `app`, with LFSFS_SERVER set.

# The server answers, and this machine can mount.
lfsfs doctor --json | jq -es 'all(.health != "bad")' >/dev/null

# A project with two versions; a third import finds nothing new.
lfsfs project new app
lfsfs import ./app app -m "first release" --json | jq -e '.new and .version == 1' >/dev/null
echo "timeout = 30" >> app/config.toml
version=$(lfsfs import ./app app -m "longer timeout")
[ "$version" = app@v2 ]
lfsfs import ./app app --json | jq -e '.new == false and .version == 2' >/dev/null

# Who did what, for a report.
lfsfs log app --json | jq -er '"\(.version) \(.message)"' > report
[ "$(cat report)" = "2 longer timeout
1 first release" ]
lfsfs show app@v2 --json | jq -es '.[1:] == [{"change": "M", "path": "config.toml"}]' >/dev/null

# The stable release is a tag, and moves only if that is meant.
lfsfs tag app@v1 stable
code=0
lfsfs tag app@v2 stable --json > refused 2>/dev/null || code=$?
[ $code = 1 ]
jq -e '.error.kind == "failed" and (.error.hint | contains("--force"))' refused >/dev/null
lfsfs tag app@v2 stable --force
[ "$(lfsfs tag app --json | jq -r 'select(.tag == "stable").version')" = 2 ]

# Which projects are there, and how big are they.
lfsfs project list --json | jq -er .name | grep -qx app
lfsfs project inspect app --json | jq -e '.head == 2 and .version.objects > 0' >/dev/null

# Every mount of this machine, and those that need a look.
mkdir -p mnt
lfsfs mount app@stable mnt -o ro
lfsfs mounts --json | jq -es 'map(select(.state != "served")) | length == 0' >/dev/null
[ "$(lfsfs status mnt --json | jq -r '.version.version')" = 2 ]
lfsfs switch mnt v1
[ ! -e mnt/missing ] && ! grep -q timeout mnt/config.toml
lfsfs umount mnt

# A copy for a machine without lfsfs is the tree that was imported.
lfsfs export app@stable ./copy
diff -r app copy

# What is not there is an error with a code, in the language of the script.
code=0
lfsfs inspect app --json > refused 2>/dev/null || code=$?
[ $code = 2 ] && jq -e '.error.kind == "usage"' refused >/dev/null
code=0
lfsfs ls none --json > refused 2>/dev/null || code=$?
[ $code = 1 ] && jq -e '.error.message | contains("none")' refused >/dev/null

lfsfs project rename app old-app
lfsfs project delete old-app --yes
[ -z "$(lfsfs project list)" ]
