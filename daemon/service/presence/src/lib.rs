//! Presentities: who is available, busy or gone.
