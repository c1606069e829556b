//! A directory becomes a version: scan, plan, send
