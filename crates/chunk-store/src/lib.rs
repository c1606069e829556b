//! Where a datanode keeps its chunks
