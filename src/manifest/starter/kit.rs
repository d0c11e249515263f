//! What a project of a language needs in its snapshot, and how its tests are run.

/// What a project is written in, as far as its files tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kit {
    /// Python, with tests of the standard library's `unittest`.
    Unittest,
    /// Python, with pytest among what `requirements.txt` lists.
    Pytest,
    /// A package of Node.js whose dependencies a lock file pins.
    Node,
    /// A package of Node.js without a lock file.
    UnlockedNode,
    /// A crate of Rust.
    Rust,
    /// A module of Go.
    Go,
    /// Something else.
    Other,
}

impl Kit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Unittest,
        Self::Pytest,
        Self::Node,
        Self::UnlockedNode,
        Self::Rust,
        Self::Go,
        Self::Other,
    ];

    /// In words.
    #[must_use]
    pub const fn words(self) -> Option<&'static str> {
        match self {
            Self::Unittest => Some("Python"),
            Self::Pytest => Some("Python with pytest"),
            Self::Node | Self::UnlockedNode => Some("Node.js"),
            Self::Rust => Some("Rust"),
            Self::Go => Some("Go"),
            Self::Other => None,
        }
    }

    /// The steps that install what the tests need, as lines of a list.
    pub(super) fn provision(self) -> String {
        let requirements =
            "      - copy: { from: ./requirements.txt, to: /opt/requirements.txt }\n";
        let venv =
            "python3 -m venv /opt/venv && /opt/venv/bin/pip install -r /opt/requirements.txt\n";
        match self {
            Self::Unittest => format!(
                "{}      # A file of the project can be part of the image:\n      # - copy: {{ from: ./requirements.txt, to: /opt/requirements.txt }}\n      # - run: apt-get update && apt-get install -y python3-venv && {venv}",
                packages("python", "command -v python3", "python3")
            ),
            Self::Pytest => format!(
                "{}{requirements}      - run: {venv}",
                // Ubuntu has Python, and what makes virtual environments apart from it.
                packages("python", "python3 -c 'import ensurepip'", "python3 python3-venv")
            ),
            Self::Node | Self::UnlockedNode => {
                packages("node", "command -v npm", "nodejs npm")
            }
            Self::Rust => packages("rust", "command -v cargo", "cargo"),
            Self::Go => packages("go", "command -v go", "golang-go"),
            Self::Other => "      - name: tools\n        run: command -v git || { apt-get update && apt-get install -y git; }\n        timeout: 15m\n      # A file of the project can be part of the image:\n      # - copy: { from: ./tools.sh, to: /opt/tools.sh }\n".to_owned(),
        }
    }

    /// The run steps, as lines of a list.
    pub(super) fn run(self) -> String {
        let (command, artifacts) = match self {
            Self::Unittest => ("python3 -m unittest discover --verbose", "[report.xml]"),
            Self::Pytest => (
                "/opt/venv/bin/python -m pytest --junitxml=report.xml",
                "[report.xml]",
            ),
            Self::Node => ("npm ci && npm test", "[\"coverage/**\"]"),
            Self::UnlockedNode => ("npm install && npm test", "[\"coverage/**\"]"),
            Self::Rust => ("cargo test", "[\"target/nextest/**\"]"),
            Self::Go => ("go test ./...", "[coverage.out]"),
            Self::Other => (
                "ls -l                  # what runs your tests",
                "[report.xml]",
            ),
        };
        let sign = if self == Self::Pytest { "" } else { "# " };
        format!(
            "      - name: tests\n        command: {command}\n        timeout: 30m\n        {sign}artifacts: {artifacts}    # brought back to this machine\n"
        )
    }
}

/// A step that installs packages of Ubuntu unless a command says that they are there. Their list is
/// fetched first: a fresh image has none.
fn packages(name: &str, is_there: &str, packages: &str) -> String {
    format!(
        "      - name: {name}\n        run: |\n          export DEBIAN_FRONTEND=noninteractive\n          {is_there} || {{ apt-get update && apt-get install -y {packages}; }}\n        timeout: 15m\n"
    )
}
