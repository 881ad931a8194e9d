//! RTP and RTCP packets, quality, telephone-event.
