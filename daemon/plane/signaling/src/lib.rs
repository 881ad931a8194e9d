//! The signaling plane: endpoints, registrar, trunks, SIP legs.
