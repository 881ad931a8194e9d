//! The kernel's fast path: flows of RTP that are forwarded where they arrive, before any socket.
//!
//! A [`Flow`] says whose packets (four addresses and ports, one SSRC, some payload types) leave as whose. A small program in the
//! kernel (`bpf/forward.c`, at the ingress of the interfaces that hold our addresses) forwards exactly those and counts
//! them; everything else goes up the stack as if it were not there. So user space decides about a call, and the kernel repeats the decision.
//!
//! ```text
//! FastPath (loads, attaches)  ->  Table of each worker: install, read, remove  ->  maps  <-  forward.c, for each packet
//! ```
//!
//! Nothing of it outlives the process: program, maps and links are held by descriptors and by nothing else. Left out: what a
//! call is, when a flow may be, SRTP, and from one address family to the other.

mod layout;
mod program;
mod routes;
mod table;

pub use layout::{Ends, FLOWS_MAX, Flow};
pub use program::{FastPath, INTERFACES_MAX, Unavailable};
pub use table::{Figures, Flows, Table};
