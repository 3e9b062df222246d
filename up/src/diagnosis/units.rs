//! Finds failed services in the output of `systemctl show`.

pub(super) const KUBELET: &str = "kubelet.service";
/// The properties to ask `systemctl show` for.
pub(super) const PROPERTIES: &str = "--property=Id,ActiveState,SubState,Result,ExecMainStatus,NRestarts";

/// A service that does not run, or was restarted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FailedUnit {
    pub(super) unit: String,
    pub(super) problem: String,
    /// It was not started yet: another job blocks it.
    pub(super) is_waiting: bool,
}

/// Parses blocks of `NAME=VALUE` lines, separated by an empty line.
pub(super) fn failed(text: &str) -> Vec<FailedUnit> {
    text.split("\n\n").filter_map(failed_unit).collect()
}

fn failed_unit(block: &str) -> Option<FailedUnit> {
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
    Some(FailedUnit {
        unit,
        problem,
        is_waiting: active == "inactive",
    })
}

#[cfg(test)]
mod tests {
    use super::failed;

    #[test]
    fn inactive_and_restarted_units_have_failed() {
        let text = "Result=success\nNRestarts=0\nExecMainStatus=0\nId=containerd.service\nActiveState=active\n\
                    SubState=running\n\n\
                    Result=exit-code\nNRestarts=3\nExecMainStatus=1\nId=kubelet.service\nActiveState=activating\n\
                    SubState=auto-restart\n\n\
                    Result=success\nNRestarts=1\nExecMainStatus=0\nId=a.service\nActiveState=active\nSubState=running\n\n\
                    Result=success\nNRestarts=0\nExecMainStatus=0\nId=b.service\nActiveState=inactive\nSubState=dead\n";
        let units = failed(text);
        let waiting: Vec<bool> = units.iter().map(|unit| unit.is_waiting).collect();
        assert_eq!(waiting, [false, false, true]);
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
