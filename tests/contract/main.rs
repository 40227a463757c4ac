//! What holds for the tree as a whole: arrows between crates, sizes of files, and documents that must keep up with the code.

#[cfg(test)]
mod arrows;
#[cfg(test)]
mod clients;
mod disk;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod protos;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scopes;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod sled;
#[cfg(test)]
mod tree;
