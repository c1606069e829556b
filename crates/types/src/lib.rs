//! Identity, paths, records and the durable formats of lfsfs; no I/O
