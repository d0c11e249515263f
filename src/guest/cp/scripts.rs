//! What the droplet's shell is told, and what its answers mean. Pure.

use super::{COMPLETE, DATA, END, Kind};
use crate::guest::cp::CopyError;
use crate::guest::error::GuestError;
use crate::guest::exec::Status;
use crate::guest::shell::quote;

/// A folder is where a file should go.
const IS_FOLDER: i32 = 8;
/// A file is where a folder should go.
const IS_FILE: i32 = 9;
/// The folder to copy into is not there.
const NO_FOLDER: i32 = 10;
/// Not all of the archive has come.
const CUT: i32 = 11;
/// What should be copied is not there.
const MISSING: i32 = 12;
/// It is neither a file nor a folder.
const KIND: i32 = 13;
/// There is no `tar`.
const NO_TAR: i32 = 14;

/// What begins each of them: messages that can be recognised, and relative paths from the home.
const PREAMBLE: &str = r#"set -eu
umask 022
LC_ALL=C; export LC_ALL
cd -- "${HOME:-/}"
command -v tar >/dev/null || exit 14
"#;

/// A path that no command takes for an option.
fn there(path: &str) -> String {
    match path.strip_prefix("~/") {
        _ if path.is_empty() || path == "~" => "./".to_owned(),
        Some(below) => format!("./{below}"),
        None if path.starts_with('/') => path.to_owned(),
        None => format!("./{path}"),
    }
}

/// Takes an archive of [`DATA`] and [`END`]; prints where it went. What is unpacked lies beside its
/// place until it is all there.
pub(super) fn receive(to: &str, name: Option<&str>, kind: Kind) -> String {
    let to = there(to);
    let (path, is_folder) = match to.trim_end_matches('/') {
        "" => ("/", true),
        path => (path, to.ends_with('/')),
    };
    let inside = match name {
        Some(name) => format!("${{to%/}}/{}", quote(name)),
        None => "$to".to_owned(),
    };
    let must_be = if is_folder && path != "." {
        format!("  printf %s \"$to\"; exit {NO_FOLDER}")
    } else {
        "  place=$to".to_owned()
    };
    let look = match kind {
        Kind::File => format!(
            r#"if [ -d "$place" ]; then printf %s "$place"; exit {IS_FOLDER}; fi
if [ -f "$place" ] && [ -L "$place" ]; then place=$(readlink -f -- "$place"); fi
folder=${{place%/*}}"#
        ),
        Kind::Folder => format!(
            r#"if [ -d "$place" ]; then folder=$place
elif [ -e "$place" ]; then printf %s "$place"; exit {IS_FILE}
else folder=${{place%/*}}; fi"#
        ),
    };
    let install = match kind {
        Kind::File => format!(r#"mv -f -- "$work/{DATA}" "$place""#),
        Kind::Folder => format!(
            r#"if [ ! -d "$place" ]; then mv -- "$work/{DATA}" "$place"
else
  look "$work/{DATA}" "$place"
  merge "$work/{DATA}" "$place"
fi"#
        ),
    };
    let merge = match kind {
        Kind::File => String::new(),
        Kind::Folder => merge_functions(),
    };
    format!(
        r#"{PREAMBLE}to={to}
if [ -d "$to" ]; then
  place={inside}
else
{must_be}
fi
{look}
[ -n "$folder" ] || folder=/
if [ ! -d "$folder" ]; then printf %s "$folder"; exit {NO_FOLDER}; fi
{merge}work=$(mktemp -d "$folder/.dewpoint.XXXXXXXX")
trap 'chmod -R u+rwX -- "$work" 2>/dev/null || :; rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM PIPE
tar -xpof - -C "$work"
[ -e "$work/{END}" ] || exit {CUT}
{install}
printf %s "$place""#,
        to = quote(path),
    )
}

/// `look` refuses before anything is moved; `merge` moves whole what is not there yet, and files over
/// files. Both go down in shells of their own, which keep their variables.
fn merge_functions() -> String {
    format!(
        r#"look() {{
  for p in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    [ -e "$p" ] || [ -L "$p" ] || continue
    t=$2/${{p##*/}}
    if [ -d "$p" ] && [ ! -L "$p" ]; then
      if [ -d "$t" ]; then (look "$p" "$t")
      elif [ -e "$t" ]; then printf %s "$t"; exit {IS_FILE}; fi
    elif [ -d "$t" ] && [ ! -L "$t" ]; then printf %s "$t"; exit {IS_FOLDER}; fi
  done
}}
merge() {{
  from=$1 into=$2
  chmod u+rwx -- "$from"
  set --
  for p in "$from"/* "$from"/.[!.]* "$from"/..?*; do
    [ -e "$p" ] || [ -L "$p" ] || continue
    t=$into/${{p##*/}}
    if [ -d "$p" ] && [ ! -L "$p" ]; then
      if [ -d "$t" ]; then (merge "$p" "$t"); continue; fi
    fi
    [ ! -L "$t" ] || rm -f -- "$t"
    set -- "$@" "$p"
    if [ $# -ge 200 ]; then mv -f -- "$@" "$into/"; set --; fi
  done
  [ $# = 0 ] || mv -f -- "$@" "$into/"
}}
"#
    )
}

/// Prints whether it is a file or a folder, then an archive of it, of a file by its own name, of a
/// folder what is in it; then [`COMPLETE`], unless something could not be read.
pub(super) fn give(from: &str) -> String {
    let from = there(from);
    let path = match from.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    format!(
        r#"{PREAMBLE}from={from}
case $(tar --version 2>/dev/null || :) in
  *GNU*) set -- --format=posix --sort=name ;;
  *) set -- ;;
esac
if [ -d "$from" ]; then
  cd -- "$from"
  echo folder
  code=0; tar -cf - "$@" . || code=$?
  [ "$code" -gt 1 ] || echo {COMPLETE}
  exit "$code"
fi
[ -e "$from" ] || exit {MISSING}
[ -f "$from" ] || exit {KIND}
cd -- "${{from%/*}}/"
from=${{from##*/}}
: <"./$from"
echo file
code=0; tar -chf - "$@" "./$from" || code=$?
[ "$code" -gt 1 ] || echo {COMPLETE}
exit "$code""#,
        from = quote(path),
    )
}

/// What a code and the words beside it mean. `path` is what was named, `printed` what a script of
/// ours printed.
pub(super) fn failure(
    side: &str,
    path: &str,
    status: &Status,
    printed: &str,
    complaint: &str,
    other: impl FnOnce() -> GuestError,
) -> CopyError {
    let shown = |path: &str| if path.is_empty() { "~" } else { path }.to_owned();
    let (side, named, printed) = (side.to_owned(), shown(path), shown(printed));
    let in_the_way = |found, wanted| CopyError::InTheWay {
        path: printed.clone(),
        side: side.clone(),
        found,
        wanted,
    };
    match status {
        Status::Exit(IS_FOLDER) => in_the_way("folder", "file"),
        Status::Exit(IS_FILE) => in_the_way("file", "folder"),
        Status::Exit(NO_FOLDER) => CopyError::NoFolder {
            path: printed,
            side,
        },
        Status::Exit(MISSING) => CopyError::Missing { path: named, side },
        Status::Exit(KIND) => CopyError::Kind { path: named, side },
        Status::Exit(NO_TAR) => CopyError::Guest(GuestError::ProgramMissing {
            label: side,
            program: "tar".to_owned(),
        }),
        // The last is what `tar` says when a part of a block still had room.
        _ if ["No space left on device", "quota exceeded", ": Wrote only "]
            .iter()
            .any(|words| complaint.contains(words)) =>
        {
            CopyError::NoSpace { path: named, side }
        }
        _ if ["ermission denied", "Read-only file system", "not permitted"]
            .iter()
            .any(|words| complaint.contains(words)) =>
        {
            CopyError::Denied {
                path: named,
                side,
                output: complaint.to_owned(),
            }
        }
        _ => CopyError::Guest(other()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_an_option_and_a_tilde_is_the_home() {
        for (given, path) in [
            ("", "./"),
            ("~", "./"),
            ("~/a", "./a"),
            ("-rf", "./-rf"),
            ("/etc/x", "/etc/x"),
            ("a~/b", "./a~/b"),
        ] {
            assert_eq!(there(given), path, "{given:?}");
        }
    }

    #[test]
    fn what_went_wrong_is_told_apart_by_code_and_words() {
        let of = |code, complaint: &str| {
            let other = || GuestError::RemoteFailed {
                label: "droplet.a".to_owned(),
                doing: "copying".to_owned(),
                end: "exit 2".to_owned(),
                output: complaint.to_owned(),
            };
            failure(
                "droplet.a",
                "/x/y",
                &Status::Exit(code),
                "/x",
                complaint,
                other,
            )
            .to_string()
        };
        assert_eq!(of(NO_FOLDER, ""), "there is no folder /x on droplet.a");
        assert_eq!(of(MISSING, ""), "there is no /x/y on droplet.a");
        assert_eq!(
            of(IS_FILE, ""),
            "/x on droplet.a is a file, and a folder was to go there"
        );
        assert_eq!(
            of(2, "tar: a: Cannot write: No space left on device\n"),
            "no space is left on droplet.a for /x/y; nothing of it was kept"
        );
        assert_eq!(
            of(2, "tar: data: Wrote only 1536 of 10240 bytes\n"),
            "no space is left on droplet.a for /x/y; nothing of it was kept"
        );
        assert_eq!(
            of(1, "x\nsh: 3: cannot open ./y: Permission denied\n"),
            "droplet.a does not allow it for /x/y: sh: 3: cannot open ./y: Permission denied"
        );
        assert_eq!(
            of(2, "tar: what?\n"),
            "copying failed on droplet.a (exit 2)\n  tar: what?"
        );
    }
}
