//! Trees, clusters, proxies and disks for tests
