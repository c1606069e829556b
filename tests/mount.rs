//! Mounts through the kernel: what they show, what they cost, what programs make of them.

#[path = "mount/absent.rs"]
mod absent;
#[path = "mount/access_lists.rs"]
mod access_lists;
#[path = "mount/budgets.rs"]
mod budgets;
#[path = "mount/bulk.rs"]
mod bulk;
#[path = "mount/damage.rs"]
mod damage;
#[path = "mount/fidelity.rs"]
mod fidelity;
#[path = "mount/follow.rs"]
mod follow;
#[path = "mount/kernel_mode.rs"]
mod kernel_mode;
#[path = "mount/many.rs"]
mod many;
#[path = "mount/mount8.rs"]
mod mount8;
#[path = "mount/mount_points.rs"]
mod mount_points;
#[path = "mount/outages.rs"]
mod outages;
#[path = "mount/programs.rs"]
mod programs;
