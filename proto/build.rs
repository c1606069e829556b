//! Compiles the proto files with protox, so that no protoc needs to be installed.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files =
        ["common", "datanode", "coordinator", "fs"].map(|name| format!("lfsfs/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".lfsfs.v1.ChunkFrame.data")
        .compile_fds(descriptors)?;
    Ok(())
}
