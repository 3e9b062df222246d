use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

use super::write::edit;
use super::{FILE, Pin, PinError, write};
use crate::digest::Digest;
use crate::reference::Reference;

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn pinned(what: &str) -> Reference {
    reference("example.org/clusters/k8s:v5").at(&Digest::of(what.as_bytes()))
}

#[test]
fn errors_have_line_and_column() {
    let cases = [
        ("", "line 1, column 1: missing field `artifact`"),
        (
            "artifact = 5\n",
            "line 1, column 12: invalid type: integer `5`, expected a string",
        ),
        (
            "# ä\nartifact = \"k8s-1.34\"\n",
            "line 2, column 12: `k8s-1.34` is not a reference: it names no registry",
        ),
        (
            "artifact = \"example.org/a\"\nsurprise = 1\n",
            "line 2, column 1: unknown field `surprise`, expected `artifact` or `plain-http`",
        ),
        (
            "artifact = \"example.org/a\"\nplain-http = \"yes\"\n",
            "line 2, column 14: invalid type: string \"yes\", expected a boolean",
        ),
        ("artifact = \n", "line 1, column 12: string values must be quoted"),
    ];
    for (text, expected) in cases {
        let error = Pin::parse(Path::new("p/parbake.toml"), text)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("`p/parbake.toml`, {expected}")),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
    let pin = Pin::parse(Path::new(FILE), "artifact = \"example.org/a\"").unwrap();
    let error = pin.digest().unwrap_err();
    assert!(matches!(&error, PinError::Unpinned { .. }), "{error}");
}

#[test]
fn nearest_file_is_used() {
    let temp = tempfile::tempdir().unwrap();
    let below = temp.path().join("project/below");
    fs::create_dir_all(&below).unwrap();
    assert_eq!(Pin::find(&below).unwrap(), None);
    let (before, written) = write(&temp.path().join("project"), &pinned("a"), false).unwrap();
    assert_eq!(before, None);
    assert_eq!(Pin::find(&below).unwrap(), Some(written.clone()));
    // Writing from a subdirectory changes the project's file.
    let (before, now) = write(&below, &pinned("b"), true).unwrap();
    assert_eq!(before, Some(written));
    assert_eq!(now.path, temp.path().join("project").join(FILE));
    assert_eq!(Pin::find(&below).unwrap(), Some(now));
    assert!(!below.join(FILE).exists());
    assert_eq!(fs::read_dir(temp.path().join("project")).unwrap().count(), 2);
}

#[test]
fn other_content_is_preserved() {
    let text = format!(
        "# ours\n\nplain-http = true # no TLS yet\n# which\nartifact   = '{}' # v5\n# end\n",
        pinned("a")
    );
    let edited = edit(Path::new(FILE), &text, &pinned("b"), true).unwrap();
    let expected = text.replace(&format!("'{}'", pinned("a")), &format!("\"{}\"", pinned("b")));
    assert_eq!(edited, expected);
    let edited = edit(Path::new(FILE), &text, &pinned("b"), false).unwrap();
    assert!(
        !edited.contains("plain-http") && edited.contains("# end"),
        "{edited}"
    );
}

#[test]
fn owners_are_preserved() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("elsewhere.toml");
    fs::write(&file, "artifact = \"example.org/a\"\n").unwrap();
    chown(&file, Some(7), Some(8)).unwrap();
    symlink(&file, temp.path().join(FILE)).unwrap();
    write(temp.path(), &pinned("a"), false).unwrap();
    assert!(temp.path().join(FILE).is_symlink());
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (7, 8));
    // A new file gets the owner of its directory.
    let dir = temp.path().join("project");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(9), Some(10)).unwrap();
    let deeper = Pin::find(&dir).unwrap().map(|pin| pin.path);
    assert_eq!(deeper, Some(temp.path().join(FILE)));
    fs::remove_file(temp.path().join(FILE)).unwrap();
    let (_, new) = write(&dir, &pinned("a"), false).unwrap();
    assert_eq!(fs::metadata(new.path).unwrap().uid(), 9);
}

#[test]
fn invalid_files_are_not_changed() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join(FILE);
    fs::write(&path, "artifact = \n").unwrap();
    assert!(write(temp.path(), &pinned("a"), false).is_err());
    assert_eq!(fs::read_to_string(path).unwrap(), "artifact = \n");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}
