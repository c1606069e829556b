use super::*;

fn parse(list: &str) -> Result<MountOptions, OptionError> {
    MountOptions::parse([list])
}

#[test]
fn all_options_find_their_place() {
    let options = parse(
        "ro,server=h:1,cache=/c,cache-size=20G,state=/s,run=/r,uid=1,gid=2,allow_other,\
         default_permissions,log=/l,mode=auto,serve=follow,foreground,retry=3,timeout=7,acl,follow,transport=device,\
         overlay=build,overlay-size=2M,volatile,writeback,noupload,upload-rate=3M,upload-executors=4",
    )
    .unwrap();
    let expected = MountOptions {
        access: Access::ReadOnly,
        server: Some("h:1".into()),
        cache: Some("/c".into()),
        cache_size: Some(20 << 30),
        state: Some("/s".into()),
        run: Some("/r".into()),
        uid: Some(1),
        gid: Some(2),
        allow_other: true,
        default_permissions: true,
        log: Some("/l".into()),
        mode: WantedMode::Auto,
        serve: Serve::Follow,
        foreground: true,
        retry: 3,
        timeout: Duration::from_secs(7),
        noxattr: false,
        acl: true,
        follow: true,
        overlay: Some(Name::new(b"build").unwrap()),
        volatile: true,
        writeback: true,
        noupload: true,
        overlay_size: Some(2 << 20),
        upload_rate: Some(3 << 20),
        upload_executors: Some(4),
        flags: MountFlags::NOSUID | MountFlags::NODEV,
    };
    assert_eq!(options, expected);
}

#[test]
fn the_later_of_two_wins_across_lists() {
    let options = MountOptions::parse(["ro,suid,server=a", "rw,nosuid,exec,noexec,server=b"]);
    let options = options.unwrap();
    assert_eq!(options.access, Access::ReadWrite);
    assert_eq!(options.server.as_deref(), Some("b"));
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    assert_eq!(options.flags, flags);
}

#[test]
fn suid_and_dev_must_be_asked_for() {
    assert_eq!(parse("suid,dev").unwrap().flags, MountFlags::empty());
}

#[test]
fn what_mount_handles_itself_is_accepted() {
    let list = "rw,_netdev,nofail,user,user=me,noauto,defaults,x-systemd.automount,X-mount.mkdir,,";
    assert_eq!(parse(list), Ok(MountOptions::default()));
}

#[test]
fn unknown_options_are_named() {
    let error = parse("ro,colour=red").unwrap_err();
    assert_eq!(error.to_string(), "unknown mount option: colour");
}

#[test]
fn what_is_not_served_yet_says_so() {
    for option in ["versions", "passthrough", "profile=p", "transport=uring"] {
        let error = parse(option).unwrap_err();
        assert!(matches!(error, OptionError::NotYet { .. }), "{option}");
    }
}

#[test]
fn of_no_attributes_and_access_lists_the_later_one_counts() {
    let parsed = |list| {
        let options = parse(list).unwrap();
        (options.noxattr, options.acl)
    };
    assert_eq!(parsed("acl,noxattr"), (true, false));
    assert_eq!(parsed("noxattr,acl"), (false, true));
    assert_eq!(parsed("acl,noacl"), (false, false));
}

#[test]
fn values_are_checked() {
    for option in [
        "server",
        "server=",
        "cache=relative",
        "cache-size=big",
        "uid=root",
        "gid=-1",
        "retry=x",
        "timeout=0",
        "transport=pigeon",
        "serve=well",
        "overlay-size=all",
        "upload-rate=fast",
        "upload-executors=0",
        "upload-executors=65",
        "ro=1",
        "suid=1",
        "remount",
    ] {
        assert!(parse(option).is_err(), "{option}");
    }
    assert_eq!(parse("remount,ro"), Err(OptionError::Remount));
}
