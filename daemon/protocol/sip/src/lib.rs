//! SIP: message, transaction, dialog, digest. Bytes and now in, outputs and deadlines out.
