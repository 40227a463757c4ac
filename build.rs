//! Build script of `tidemark-proto`: compiles `proto/` with protox, so that no protoc is needed, and writes the descriptor set
//! for reflection beside the generated code.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const FILES: [&str; 8] = [
    "tidemark/v1/error.proto",
    "tidemark/v1/event.proto",
    "tidemark/v1/grants.proto",
    "tidemark/v1/keys.proto",
    "tidemark/v1/models.proto",
    "tidemark/v1/responses.proto",
    "tidemark/v1/sessions.proto",
    "tidemark/v1/users.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for file in FILES {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [&root])?;
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // Payloads are `Bytes`, so that a message holds a reference to the log's buffer and not a copy of it; maps are sorted, so
    // that the same message always has the same bytes.
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .codec_path("crate::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
