//! The media plane: workers, ports, relay, play, reports.
