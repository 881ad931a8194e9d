//! SDP: description, and its conversion to and from the streams of postern-types.
