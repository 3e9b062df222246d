use std::collections::BTreeSet;

use super::{ALL, ContainerRuntime, RuntimeProfile};

#[test]
fn names_are_read_as_they_are_written() {
    for runtime in ALL {
        assert_eq!(runtime.to_string().parse(), Ok(runtime));
        let value = serde_json::to_value(runtime).unwrap();
        assert_eq!(value, runtime.as_str());
        assert_eq!(
            serde_json::from_value::<ContainerRuntime>(value).unwrap(),
            runtime
        );
    }
    for (text, expected) in [
        (
            "podman",
            "`podman` is no container runtime; there are `containerd`, `cri-o` and `docker`",
        ),
        ("Docker", "`Docker` is no container runtime; "),
    ] {
        let error = text.parse::<ContainerRuntime>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn no_two_runtimes_are_in_each_others_way() {
    let all = ALL.map(ContainerRuntime::answers);
    let different = |of: fn(&RuntimeProfile) -> &str| all.map(of).into_iter().collect::<BTreeSet<_>>().len();
    for of in [
        |answers: &RuntimeProfile| answers.unit,
        |answers: &RuntimeProfile| answers.socket,
        |answers: &RuntimeProfile| answers.dir,
        |answers: &RuntimeProfile| answers.log,
    ] {
        assert_eq!(different(of), all.len());
    }
    for answers in all {
        // As plans have it, and as sockets, configurations and units do.
        assert!(!answers.dir.starts_with('/') && answers.configuration.starts_with("/etc/"));
        assert!(answers.socket.starts_with("unix:///run/") && answers.unit.ends_with(".service"));
    }
}

#[test]
fn scripts_are_shell() {
    for answers in ALL.map(ContainerRuntime::answers) {
        let scripts = [
            Some(answers.import),
            Some(answers.list),
            Some(answers.tree),
            answers.forget_packed,
            answers.forget_all_packed,
            Some(answers.forget_pods),
            Some(answers.stop_pod),
        ];
        for script in scripts.into_iter().flatten() {
            let status = std::process::Command::new("sh")
                .args(["-n", "-c", script])
                .status();
            assert!(status.unwrap().success(), "{script}");
        }
    }
}
