//! Files in real guests, where there can be some: see [`files`].

#[cfg(all(target_os = "linux", feature = "guests"))]
mod files;

fn main() {
    #[cfg(all(target_os = "linux", feature = "guests"))]
    files::main();
    #[cfg(not(all(target_os = "linux", feature = "guests")))]
    println!("NOT RUN: guests need Linux and the feature `guests`");
}
