//! The wire format seen from outside: golden images, damage, arrival in pieces, routing.

mod damage;
mod golden;
mod pieces;
mod routing;
mod streams;
