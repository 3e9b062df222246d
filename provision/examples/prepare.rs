//! Prepares a provider's inputs and says what came of it: `prepare PROVIDER-DIR CACHE-DIR [update]`.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use parbake_machine::executable::ARCHITECTURE;
use parbake_provision::inputs::{self, LockPart, LockUpdate, Overrides, Source};
use parbake_provision::provider::Provider;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [dir, cache, rest @ ..] = arguments.as_slice() else {
        return Err("usage: prepare PROVIDER-DIR CACHE-DIR [update]".into());
    };
    let provider = Provider::load(dir).map_err(explained)?;
    if !rest.is_empty() {
        let given = Overrides::default();
        let update = LockUpdate {
            part: LockPart::All,
            architecture: ARCHITECTURE,
            mirrors: &given.mirrors,
            registry: &given.registry,
            cache,
        };
        let updated = inputs::update_lock(&provider, &update).map_err(explained)?;
        println!("lock changed: {}", updated.changed);
    }
    let begun = Instant::now();
    let inputs =
        inputs::prepare(&provider, &Source::Auto, &Overrides::default(), cache).map_err(explained)?;
    println!("{:.2} s\n{inputs:#?}", begun.elapsed().as_secs_f64());
    Ok(())
}

/// An error with all its causes.
fn explained(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    text
}
