//! Limits of a process (getrlimit(2)), which it inherits from its caller and passes on to its children.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A limit that machines need.
pub(crate) struct NeededLimit {
    resource: Resource,
    pub(crate) name: &'static str,
    /// The option of the shell's `ulimit`.
    pub(crate) option: char,
    /// The least value with which a cluster runs; `None`: it must be unlimited.
    pub(crate) least: Option<u64>,
}

const GIB: u64 = 1 << 30;
/// The stack that the main thread may need, in bytes: the usual limit.
const STACK: u64 = 8 << 20;

pub(crate) const NEEDED: [NeededLimit; 5] = [
    needed(Resource::Nofile, "open files", 'n', Some(256)),
    // Go reserves address space generously.
    needed(Resource::As, "address space", 'v', Some(1024 * GIB)),
    needed(Resource::Data, "data", 'd', Some(1024 * GIB)),
    needed(Resource::Fsize, "file size", 'f', Some(GIB)),
    needed(Resource::Cpu, "CPU time", 't', None),
];

const fn needed(resource: Resource, name: &'static str, option: char, least: Option<u64>) -> NeededLimit {
    NeededLimit {
        resource,
        name,
        option,
        least,
    }
}

impl NeededLimit {
    /// The hard limit; `None` if it is unlimited.
    pub(crate) fn hard_limit(&self) -> Option<u64> {
        getrlimit(self.resource).maximum
    }

    /// True if a cluster does not run with the hard limit `value`.
    pub(crate) fn is_too_low(&self, value: u64) -> bool {
        self.least.is_none_or(|least| value < least)
    }
}

/// Raises the soft limits that machines and relayed connections need to the hard ones, and those too if they are too low
/// and this process may.
pub(crate) fn raise() {
    for needed in NEEDED {
        let maximum = needed.hard_limit();
        let raised = match maximum {
            Some(value) if needed.is_too_low(value) => needed.least,
            _ => maximum,
        };
        // Needs CAP_SYS_RESOURCE; the host's check reports what is missing.
        if set(needed.resource, raised, raised).is_err() {
            let _ = set(needed.resource, maximum, maximum);
        }
    }
}

/// Raises the soft limit of the stack to the usual one, as far as the hard one allows.
pub(super) fn raise_stack() {
    let Rlimit { current, maximum } = getrlimit(Resource::Stack);
    if current.is_some_and(|current| current < STACK)
        && set(
            Resource::Stack,
            Some(STACK),
            maximum.map(|maximum| maximum.max(STACK)),
        )
        .is_err()
    {
        let _ = set(Resource::Stack, maximum, maximum);
    }
}

fn set(resource: Resource, current: Option<u64>, maximum: Option<u64>) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current, maximum })
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, getrlimit};

    use super::{NEEDED, raise};

    #[test]
    fn soft_limits_become_the_hard_limits() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn limits_below_the_least_value_are_too_low() {
        let needed = |option| NEEDED.iter().find(|needed| needed.option == option).unwrap();
        assert!(needed('n').is_too_low(255) && !needed('n').is_too_low(256));
        assert!(needed('t').is_too_low(u64::MAX));
    }
}
