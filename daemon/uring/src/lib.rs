//! The machine room: ring, buffer ring, sockets, timers. The only unsafe code but FFI leaves.
