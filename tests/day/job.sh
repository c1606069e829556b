# A batch job: it mounts a project, works in it with other jobs, and commits. A conflict is solved.
# Runs in a directory that holds a tree `app`, imported as app@v1, with LFSFS_SERVER set.

mkdir -p job other
lfsfs mount app job -o overlay=job
lfsfs mount app other -o overlay=other

# The work.
mkdir job/out
seq 1000 > job/out/result
sed -i 's/one/two/' job/file
[ "$(lfsfs diff job --stat --json | jq '.added + .modified')" = 3 ]

# Another job was faster; it changed something else and something that this one changed, too.
echo theirs > other/theirs
echo theirs > other/file
lfsfs commit other -m "the other job" --json | jq -e '.new and .version == 2' >/dev/null

# The commit is refused with the paths, as exit code 3 and as JSON, and nothing is lost.
code=0
lfsfs commit job -m "results" --json > refused 2>/dev/null || code=$?
[ $code = 3 ]
jq -e '.error.kind == "conflict"' refused >/dev/null
[ "$(jq -r '.error.paths[].path' refused)" = file ]
[ "$(wc -l < job/out/result)" = 1000 ]

# What did the others do?
lfsfs diff ./job latest --json | jq -er .path | grep -qx theirs

# The job gives up its change of that file, and keeps the rest.
jq -r '.error.paths[].path' refused | while IFS= read -r path; do
    lfsfs discard "job/$path" --yes
done
lfsfs commit job -m "results" --author job-7@fleet --json > made
jq -e '.version == 3 and .rebased' made >/dev/null
[ "$(cat job/file)" = theirs ] && [ "$(cat job/theirs)" = theirs ]

# The next step of the pipeline reads exactly this version, without a mount.
version=$(jq -r '"\(.project)@v\(.version)"' made)
[ "$(lfsfs cat "$version" out/result | tail -1)" = 1000 ]
[ "$(lfsfs log "$version" -n 1 --json | jq -r .author)" = job-7@fleet ]

# A commit without changes is the version that is there.
[ "$(lfsfs commit job)" = app@v3 ]

# The last commit of a job ends its mount.
echo done > job/out/state
[ "$(lfsfs commit job -m done --umount)" = app@v4 ]
[ -z "$(ls job)" ]
lfsfs umount other
[ -z "$(lfsfs mounts)" ]
