//! lfsfsd: coordinator and datanode
