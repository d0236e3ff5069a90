//! Grid kernels and the states of aggregates.
