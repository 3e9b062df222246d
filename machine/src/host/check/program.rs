//! Checks of the programs that parbake calls.

use crate::host::Host;
use crate::host::tool::Requirement;
use crate::host::version::Version;

use super::Check;

pub(super) fn program(host: &Host, required: &Requirement) -> Check {
    let (name, package) = (required.name, required.package);
    let Some(tool) = host.tools.get(name) else {
        let found = format!("missing: {}", required.task);
        return Check::failed(name, found, format!("install it: `apt-get install {package}`"));
    };
    let path = tool.path.display();
    match (&required.min_version, &tool.version) {
        (Some((_, min_version)), Some(version)) if *version < Version::new(*min_version) => {
            let found = format!("version {version} at `{path}`: too old");
            Check::failed(
                name,
                found,
                format!("install version {} or newer", Version::new(*min_version)),
            )
        }
        (Some(_), None) => {
            let found = format!("`{path}` does not print its version");
            Check::warning(
                name,
                found,
                format!("reinstall it: `apt-get install --reinstall {package}`"),
            )
        }
        (_, Some(version)) => Check::ok(name, format!("version {version} at `{path}`")),
        (None, None) => Check::ok(name, format!("`{path}`")),
    }
}
