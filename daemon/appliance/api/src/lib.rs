//! REST resources and event streams: HTTP to requests the switch answers, and back.
