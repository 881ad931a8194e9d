//! One entry for each parser, with seeds to mutate.
