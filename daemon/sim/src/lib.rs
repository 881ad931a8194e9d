//! The simulated world for tests, and fuzz targets.
