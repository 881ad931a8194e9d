//! Accounts, tokens, permissions.
