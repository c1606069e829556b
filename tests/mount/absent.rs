//! What a mount does not have, as docs/semantics.md says: programs get the error numbers of that page.

use std::fs;
use std::process::Command;

use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{Run, World, in_namespace};

/// Asks for each of it, and prints the outcomes as JSON.
const ASK: &str = r#"
import ctypes, errno, fcntl, json, os, subprocess, sys
root, lfsfs = sys.argv[1], sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
path = os.path.join(root, "file")

def name(code):
    # Two names of one number.
    return "EOPNOTSUPP" if code == errno.EOPNOTSUPP else errno.errorcode.get(code, str(code))

def call(result):
    return "ok" if result >= 0 else name(ctypes.get_errno())

def control(file, request, argument):
    try:
        fcntl.ioctl(file, request, argument)
        return "ok"
    except OSError as error:
        return name(error.errno)

told = {}
swap = os.path.join(root, "swap")
subprocess.run(["dd", "if=/dev/zero", "of=" + swap, "bs=64k", "count=16"], check=True, stderr=subprocess.DEVNULL)
os.chmod(swap, 0o600)
subprocess.run(["mkswap", swap], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
told["swapon"] = call(libc.swapon(swap.encode(), 0))
os.remove(swap)

with open(path, "rb") as file, open(os.path.join(root, "copy"), "wb") as copy:
    told["fiemap"] = control(file, 0xC020660B, bytearray(32 + 56))
    told["ficlone"] = control(copy, 0x40049409, file.fileno())
told["quota"] = call(libc.quotactl(0x80000700, root.encode(), 0, ctypes.create_string_buffer(256)))

before = os.stat(path).st_atime_ns
with open(path, "rb") as file:
    file.read()
told["atime"] = "same" if os.stat(path).st_atime_ns == before else "changed"

class Handle(ctypes.Structure):
    _fields_ = [("len", ctypes.c_uint), ("kind", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]

def open_handle(directory, handle):
    opened = libc.open_by_handle_at(directory, ctypes.byref(handle), os.O_RDONLY)
    outcome = call(opened)
    if opened >= 0:
        os.close(opened)
    return outcome

handle, mount = Handle(len=128), ctypes.c_int()
os.stat(path)
libc.name_to_handle_at(-100, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0)
directory = os.open(root, os.O_RDONLY)
told["handle"] = open_handle(directory, handle)
with open("/proc/sys/vm/drop_caches", "w") as drop:
    drop.write("2")
told["handle_dropped"] = open_handle(directory, handle)
os.close(directory)

for left in ["copy"]:
    os.remove(os.path.join(root, left))
subprocess.run([lfsfs, "discard", "--yes", root], check=True, stdout=subprocess.DEVNULL)
watch = libc.inotify_init1(os.O_NONBLOCK)
with open(path, "rb") as file:
    libc.inotify_add_watch(watch, root.encode(), 0xFFF & ~0x31)
    libc.inotify_add_watch(watch, path.encode(), 0x2)
    subprocess.run([lfsfs, "switch", root, "v2"], check=True, stdout=subprocess.DEVNULL)
with open(path, "rb") as file:
    told["switched"] = file.read().decode()
try:
    told["inotify"] = len(os.read(watch, 4096))
except BlockingIOError:
    told["inotify"] = 0
print(json.dumps(told))
"#;

#[test]
fn what_is_not_promised_has_the_errors_of_the_page() {
    let needed = ["python3", "mkswap", "dd"].map(require_program);
    if needed.iter().any(Result::is_err) {
        return;
    }
    let name = "absent::what_is_not_promised_has_the_errors_of_the_page";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        for text in ["first", "second"] {
            fs::write(tree.join("file"), text).expect("a file");
            let _ = world.import(&tree, "app");
        }
        let mount = world.mount_writable("app@v1", "strictatime");
        let like = world.command(["status"]);
        let mut python = Command::new("python3");
        python
            .args(["-c", ASK])
            .arg(mount.path())
            .arg(like.get_program());
        for (name, value) in like.get_envs() {
            python.env(name, value.expect("a value"));
        }
        let told = Run::of(python).json();
        let expected = [
            ("swapon", "EINVAL"),
            ("fiemap", "EOPNOTSUPP"),
            ("ficlone", "EOPNOTSUPP"),
            ("atime", "same"),
            ("handle", "ok"),
            ("handle_dropped", "ESTALE"),
            ("switched", "second"),
        ];
        for (what, outcome) in expected {
            assert_eq!(told[what], outcome, "{what}: {told}");
        }
        assert_ne!(told["quota"], "ok", "{told}");
        assert_eq!(told["inotify"], 0, "{told}");
        mount.umount();
    });
}
