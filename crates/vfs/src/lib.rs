//! The file system core: inodes, directories and reads, without a kernel
