//! Frames, acknowledgements and sessions of a chunk transfer; no sockets
