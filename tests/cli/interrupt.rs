//! Ctrl-C: what the plan calls ephemeral is removed before the program ends.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::guests;
use crate::workspace::Workspace;

#[test]
fn an_interrupted_test_leaves_no_droplet() {
    if !guests() {
        return;
    }
    let workspace = Workspace::with(
        r#"
version: 1
project: stop
region: nyc3
droplets:
  box:
    image: ubuntu-24-04-x64
    size: s-1vcpu-1gb
    count: 2
    run:
      - name: wait
        command: echo half >half.txt; echo waiting; sleep 600
        artifacts: [half.txt]
"#,
    );
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let mut test = workspace
            .command(&["test", "--local"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut err = BufReader::new(test.stderr.take().expect("piped"));
        let mut line = String::new();
        let mut waiting = 0;
        while waiting < 2 {
            line.clear();
            assert!(
                err.read_line(&mut line).expect("read") > 0,
                "it ended early"
            );
            waiting += usize::from(line.contains("| waiting"));
        }
        let pid = i32::try_from(test.id()).expect("a process id");
        // SAFETY: the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut err, &mut rest).expect("read");
        assert_eq!(test.wait().expect("ended").code(), Some(code), "{rest}");
        workspace.assert_empty();
        // What there was of artifacts was brought back before the droplets went.
        for droplet in ["stop-main-box-1", "stop-main-box-2"] {
            let run = std::fs::read_dir(workspace.path(".dewpoint/runs"))
                .expect("runs")
                .map(|run| run.expect("an entry").path())
                .max()
                .expect("a run");
            let half = run.join("artifacts").join(droplet).join("half.txt");
            let half = std::fs::read_to_string(&half)
                .unwrap_or_else(|error| panic!("{}: {error}\n{rest}", half.display()));
            assert_eq!(half, "half\n");
        }
    }
}
