//! Figures beside ext4, tar and zstd
