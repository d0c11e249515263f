//! Many guests at once.

use camino::Utf8Path;
use dewpoint::local::guests::{BootSpec, GuestHost, Options, Tier};

use super::login::{Login, base, connect, free_port, ok, spec};

pub async fn at_once(folder: &Utf8Path, count: u8) {
    let systemd = std::env::var_os("DEWPOINT_TEST_MANY_SYSTEMD").is_some();
    let port = free_port();
    let host = GuestHost::open_with(folder, Tier::Namespaces, port, Options { systemd })
        .await
        .expect("guests");
    let (login, key) = (Login::new(1), Login::new(2));
    let before = available_mib();
    let start = std::time::Instant::now();
    let specs: Vec<BootSpec> = (0..count)
        .map(|number| spec(1000 + u64::from(number), base(), &login, &key))
        .collect();
    let boots = specs.iter().map(|spec| host.boot(spec.clone()));
    for booted in futures_util::future::join_all(boots).await {
        booted.expect("a guest");
    }
    let descriptors = std::fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .count();
    println!(
        "guests: {count} up after {} ms, {} MiB, {descriptors} descriptors",
        start.elapsed().as_millis(),
        before.saturating_sub(available_mib()),
    );
    let logins = specs.iter().map(|spec| {
        let (host, login, key) = (&host, &login, &key);
        async move {
            let guest = connect((spec.address, port), login, key)
                .await
                .expect("a login");
            assert_eq!(ok(&guest, "hostname").await, spec.hostname);
            host.destroy(spec.droplet).await.expect("no droplet");
        }
    });
    futures_util::future::join_all(logins).await;
    println!(
        "guests: {count} gone after {} ms",
        start.elapsed().as_millis()
    );
    host.close().await;
}

fn available_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
