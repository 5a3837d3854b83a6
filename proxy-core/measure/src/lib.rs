//! Weir's numbers: tables, interner, histograms, writers.
