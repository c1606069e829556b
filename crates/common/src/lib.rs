//! Clock, backoff, durable file operations, telemetry set-up
