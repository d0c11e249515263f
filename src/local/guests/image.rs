//! What an image slug stands for in the local cloud.

use super::base;

/// What a slug such as `ubuntu-24-04-x64` stands for here, said so that nobody takes it for more
/// than it is: `ubuntu-24-04-x64 -> host root (Debian GNU/Linux 12 (bookworm)), NOT Ubuntu 24.04`.
#[must_use]
pub fn describe_image(slug: &str) -> String {
    let host = base::release();
    let here = format!("host root ({})", host.name);
    describe_as(slug, &host, &here)
}

/// The same where it stands for something else: what that is called, and of which distribution.
pub(in crate::local) fn describe_as(slug: &str, host: &base::Release, stands_for: &str) -> String {
    let here = format!("{slug} -> {stands_for}");
    let Some((id, name, version)) = promised(slug) else {
        return here;
    };
    // Rolling names such as centos-stream-9 promise their first number only.
    let same_version =
        host.version == version || host.version.split('.').next() == Some(version.as_str());
    if host.id == id && (version.is_empty() || same_version) {
        here
    } else {
        format!("{here}, NOT {}", format!("{name} {version}").trim_end())
    }
}

/// What a slug promises: the distribution's id as in os-release, its name, and its version.
fn promised(slug: &str) -> Option<(&'static str, &'static str, String)> {
    const KNOWN: [(&str, &str, &str); 7] = [
        ("ubuntu", "ubuntu", "Ubuntu"),
        ("debian", "debian", "Debian"),
        ("fedora", "fedora", "Fedora"),
        ("centos-stream", "centos", "CentOS Stream"),
        ("centos", "centos", "CentOS"),
        ("rockylinux", "rocky", "Rocky Linux"),
        ("almalinux", "almalinux", "AlmaLinux"),
    ];
    let (prefix, id, name) = KNOWN.iter().find(|(prefix, ..)| slug.starts_with(prefix))?;
    let version: Vec<&str> = slug[prefix.len()..]
        .trim_start_matches('-')
        .split('-')
        .take_while(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    Some((id, name, version.join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(id: &str, version: &str, slug: &str) -> String {
        let host = base::Release {
            id: id.to_owned(),
            version: version.to_owned(),
            name: "Here".to_owned(),
        };
        describe_as(slug, &host, "host root (Here)")
    }

    #[test]
    fn another_distribution_is_said_to_be_another() {
        assert_eq!(
            on("debian", "12", "ubuntu-24-04-x64"),
            "ubuntu-24-04-x64 -> host root (Here), NOT Ubuntu 24.04"
        );
        assert_eq!(
            on("ubuntu", "22.04", "ubuntu-24-04-x64"),
            "ubuntu-24-04-x64 -> host root (Here), NOT Ubuntu 24.04"
        );
        assert_eq!(
            on("ubuntu", "24.04", "ubuntu-24-04-x64"),
            "ubuntu-24-04-x64 -> host root (Here)"
        );
        assert_eq!(
            on("debian", "12", "debian-12-x64"),
            "debian-12-x64 -> host root (Here)"
        );
        assert_eq!(
            on("debian", "12", "centos-stream-9-x64"),
            "centos-stream-9-x64 -> host root (Here), NOT CentOS Stream 9"
        );
        assert_eq!(
            on("debian", "12", "docker-20-04"),
            "docker-20-04 -> host root (Here)"
        );
    }
}
