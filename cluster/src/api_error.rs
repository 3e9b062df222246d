//! What the API, or the way to it, answered instead of what was asked for.

use thiserror::Error;

/// A request to a cluster's API that failed.
#[derive(Debug, Error)]
#[error("could not {act}")]
pub struct ApiError {
    act: String,
    #[source]
    answer: Answer,
}

/// The cause as one readable line: the client's own errors print whole structures.
#[derive(Debug, Error)]
#[error("{0}")]
struct Answer(String);

impl ApiError {
    /// For `map_err`: an error that says what was tried.
    pub(crate) fn new(act: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |error| Self {
            act: act.into(),
            answer: Answer(explain(&error)),
        }
    }

    /// The act and the answer in one line, for the last-seen text of a wait.
    pub fn line(&self) -> String {
        format!("{self}: {}", self.answer)
    }
}

/// One readable line for an error of the client.
pub(crate) fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        let text = status.message.lines().collect::<Vec<_>>().join(" ");
        return format!("the API answered {}: {text}", status.code);
    }
    // Only the innermost cause says something ('connection refused'); the layers around it repeat each other.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Whether the API says that the object, or its whole kind, does not exist.
pub(crate) fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API says that the object exists, or has changed meanwhile.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Takes 'absent' as success, for deletions.
pub(crate) fn absent_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::{ApiError, absent_is_fine, is_conflict};

    fn refused(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("it\nis so", "Reason").with_code(code).boxed())
    }

    #[test]
    fn is_one_readable_line() {
        let error = ApiError::new("list nodes")(refused(403));
        assert_eq!(
            error.line(),
            "could not list nodes: the API answered 403: it is so"
        );
    }

    #[test]
    fn knows_absence_and_conflict() {
        assert!(absent_is_fine::<()>(Err(refused(404))).is_ok());
        assert!(absent_is_fine::<()>(Err(refused(403))).is_err());
        assert!(is_conflict(&refused(409)) && !is_conflict(&refused(404)));
    }
}
