//! The one stream of facts: sequence, history, filters, subscribers, spool order.
