//! The node's own services: what its service manager says of them.

/// The service without which a node is none, beside the runtime's, which it depends on.
pub(super) const KUBELET: &str = "kubelet.service";
/// What to ask `systemctl show` for.
pub(super) const PROPERTIES: &str = "--property=Id,ActiveState,SubState,Result,ExecMainStatus,NRestarts";

/// A service that does not do what it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) unit: String,
    pub(super) problem: String,
    /// Whether it was not started at all, or not yet: something else takes its time.
    pub(super) waits: bool,
}

/// Reads the answer of `systemctl show`: blocks of `NAME=VALUE` lines with an empty line between them.
pub(super) fn failed(text: &str) -> Vec<Failed> {
    text.split("\n\n").filter_map(judge).collect()
}

fn judge(block: &str) -> Option<Failed> {
    let value = |name: &str| {
        let line = |line: &'_ str| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        block.lines().find_map(line).unwrap_or_default()
    };
    let unit = value("Id");
    let (active, sub, result) = (value("ActiveState"), value("SubState"), value("Result"));
    let restarts: u32 = value("NRestarts").parse().unwrap_or_default();
    if unit.is_empty() || (active == "active" && restarts == 0) {
        return None;
    }
    let mut problem = format!(
        "service `{}` is {active} ({sub})",
        unit.trim_end_matches(".service")
    );
    if result != "success" {
        problem += &format!(", ended with {result} {}", value("ExecMainStatus"));
    }
    if restarts > 0 {
        problem += &format!(", restarts: {restarts}");
    }
    Some(Failed {
        unit,
        problem,
        waits: active == "inactive",
    })
}

#[cfg(test)]
mod tests {
    use super::failed;

    #[test]
    fn only_what_runs_as_it_was_started_is_well() {
        let text = "Result=success\nNRestarts=0\nExecMainStatus=0\nId=containerd.service\nActiveState=active\n\
                    SubState=running\n\n\
                    Result=exit-code\nNRestarts=3\nExecMainStatus=1\nId=kubelet.service\nActiveState=activating\n\
                    SubState=auto-restart\n\n\
                    Result=success\nNRestarts=1\nExecMainStatus=0\nId=a.service\nActiveState=active\nSubState=running\n\n\
                    Result=success\nNRestarts=0\nExecMainStatus=0\nId=b.service\nActiveState=inactive\nSubState=dead\n";
        let units = failed(text);
        let waits: Vec<bool> = units.iter().map(|unit| unit.waits).collect();
        assert_eq!(waits, [false, false, true]);
        let problems: Vec<String> = units.into_iter().map(|failed| failed.problem).collect();
        assert_eq!(
            problems,
            [
                "service `kubelet` is activating (auto-restart), ended with exit-code 1, restarts: 3",
                "service `a` is active (running), restarts: 1",
                "service `b` is inactive (dead)",
            ]
        );
        assert_eq!(failed("\n"), []);
    }
}
