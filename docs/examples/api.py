# A client of its own: python api.py ADDRESS, with the modules that docs/api.md makes of the proto files.
import sys

import grpc
from lfsfs.v1 import fs_pb2 as v1
from lfsfs.v1 import fs_pb2_grpc

fs = fs_pb2_grpc.FsStub(grpc.insecure_channel(sys.argv[1]))

# Longer contents go on in further messages.
PART = 512 * 1024


def update(project, objects):
    """Makes a version of pairs of paths and contents; None removes the path."""

    def messages():
        for path, content in objects:
            if content is None:
                yield v1.UpdateRequest(project=project, object=v1.Objekt(path=path, deleted=True))
                continue
            for at in range(0, max(len(content), 1), PART):
                part = v1.Objekt(path=path, content=content[at:at + PART])
                more = at + PART < len(content)
                yield v1.UpdateRequest(project=project, object=part, continued=more)

    return fs.Update(messages()).version


def get(project, queries=(), **versions):
    """Returns the objects of a version, or what differs from an older one, by their paths; None is a removal."""
    found = {}
    for answer in fs.Get(v1.GetRequest(project=project, queries=queries, **versions)):
        path, content = answer.object.path.decode(), answer.object.content
        found[path] = None if answer.object.deleted else (found.get(path) or b"") + content
    return found


def watch_until(project, number):
    """Waits for the versions of a project until one has this number."""
    known = fs.Inspect(v1.InspectRequest(name=project)).project
    watch = fs.Watch(v1.WatchRequest(project_id=known.id))
    seen = []
    for version in watch:
        seen.append(str(version.number))
        if version.number >= number:
            break
    watch.cancel()
    return seen


def shown(found):
    return " ".join(f"{path}={content.decode() if content is not None else 'null'}" for path, content in found.items())


def failure(act):
    try:
        act()
    except grpc.RpcError as error:
        return error.code()


fs.NewProject(v1.NewProjectRequest(name="py"))
big = b"lfsfs " * 500_000
print("update", update("py", [(b"src/a.txt", b"one"), (b"src/b.txt", b"two"), (b"big", big)]))
print("update", update("py", [(b"src/a.txt", b"three"), (b"src/b.txt", None)]))

projects = fs.ListProjects(v1.ListProjectsRequest()).projects
print("list", " ".join(f"{project.name}@v{project.head}" for project in projects))

print("get", shown(get("py", [v1.ObjectQuery(path=b"src/", is_prefix=True)])))
print("big", get("py", [v1.ObjectQuery(path=b"big")])["big"] == big)
print("changed", shown(get("py", from_version=1, to_version=2)))
unary = fs.GetUnary(v1.GetUnaryRequest(project="py", max_content_send_size=100))
print("unary", unary.version, " ".join(it.path.decode() for it in unary.objects))

print("rollback", fs.Rollback(v1.RollbackRequest(project="py", version=1)).version)
print("watch", " ".join(watch_until("py", 3)))
clone = v1.CloneToProjectRequest(source="py", version=2, target="copy", create=True)
print("clone", fs.CloneToProject(clone).version)
print("copy", " ".join(get("copy")))

# The two older versions expire; what the newest one and the copy name is no garbage.
print("gc", fs.GcProject(v1.GcProjectRequest(project="py", keep_versions=1, grace_secs=0)).versions)
print("expired", failure(lambda: get("py", to_version=2)) == grpc.StatusCode.NOT_FOUND)
print("garbage", fs.GcContents(v1.GcContentsRequest(sample=100, grace_secs=0)).contents)

print("refused", failure(lambda: update("py", [(b"../a", b"x")])) == grpc.StatusCode.INVALID_ARGUMENT)
