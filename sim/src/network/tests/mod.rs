//! What the network promises: stories, and properties that hold whatever happens.

mod properties;
mod stories;
mod world;
