//! Checks of the programs that parbake calls.

use crate::host::Host;
use crate::host::tool::Wanted;
use crate::host::version::Version;

use super::Check;

pub(super) fn program(host: &Host, wanted: &Wanted) -> Check {
    let (name, package) = (wanted.name, wanted.package);
    let Some(tool) = host.tools.get(name) else {
        let found = format!("missing: {}", wanted.task);
        return Check::failed(name, found, format!("install it: `apt-get install {package}`"));
    };
    let path = tool.path.display();
    match (&wanted.oldest, &tool.version) {
        (Some((_, oldest)), Some(version)) if *version < Version::new(*oldest) => {
            let found = format!("version {version} at `{path}`: too old");
            Check::failed(
                name,
                found,
                format!("install version {} or newer", Version::new(*oldest)),
            )
        }
        (Some(_), None) => {
            let found = format!("`{path}` does not tell its version");
            Check::warning(
                name,
                found,
                format!("install it anew: `apt-get install --reinstall {package}`"),
            )
        }
        (_, Some(version)) => Check::ok(name, format!("version {version} at `{path}`")),
        (None, None) => Check::ok(name, format!("`{path}`")),
    }
}
