//! Real guests, where there can be some: see [`suite`].

#[cfg(all(target_os = "linux", feature = "guests"))]
#[path = "suite.rs"] // Its modules lie beside it.
mod suite;

fn main() {
    #[cfg(all(target_os = "linux", feature = "guests"))]
    suite::main();
    #[cfg(not(all(target_os = "linux", feature = "guests")))]
    println!("NOT RUN: guests need Linux and the feature `guests`");
}
