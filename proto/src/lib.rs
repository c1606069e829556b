//! The wire: proto files, generated code, conversions, status mapping
