//! The client of coordinator and datanodes
