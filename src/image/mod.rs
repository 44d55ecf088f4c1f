//! Image sanitizing: decode under limits, orient, convert to sRGB, fit, encode without metadata.
