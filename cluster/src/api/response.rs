//! Errors of API requests.

use crate::error::{Answer, Error};

/// For `map_err`: an error that says which request failed.
pub(crate) fn request_failed(act: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    move |error| Error::Api {
        act: act.into(),
        answer: Answer(explain(&error)),
    }
}

/// An error of the client in one line.
pub(crate) fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        let text = status.message.lines().collect::<Vec<_>>().join(" ");
        return format!("the API answered {}: {text}", status.code);
    }
    // Only the innermost cause is informative ('connection refused'); the layers around it repeat each other.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// True if the object, or its whole kind, does not exist.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    has_code(error, 404)
}

/// True if the object exists already, or was changed in the meantime.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    has_code(error, 409)
}

/// True if nothing can be created because the namespace is being deleted.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let message = "because it is being terminated";
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains(message))
}

/// True if admission control rejected the request: a quota, a policy, or a webhook that denies it or cannot be called.
///
/// A webhook chooses its own status code, which is 400 or 403 unless it says otherwise. One that cannot be called, with
/// `failurePolicy: Fail`, is an internal error (`apiserver/pkg/admission/plugin/webhook/errors`). The API server's
/// authorization also answers 403, so this says something only about clients that may do everything.
pub(crate) fn is_admission_rejection(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    match status.code {
        400 | 403 => true,
        _ => {
            status.message.contains("failed calling webhook") || status.message.contains("admission webhook")
        }
    }
}

/// Treats 'not found' as success, for deletions.
pub(crate) fn ignore_not_found<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

#[cfg(test)]
pub(crate) mod tests {
    use kube::core::Status;

    use super::{ignore_not_found, is_admission_rejection, is_conflict, request_failed};

    pub(crate) fn refused(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "Reason").with_code(code).boxed())
    }

    #[test]
    fn error_fits_on_one_line() {
        let error = request_failed("list nodes")(refused(403, "it\nis so"));
        assert_eq!(
            error.line(),
            "could not list nodes: the API answered 403: it is so"
        );
    }

    #[test]
    fn not_found_and_conflict_are_told_apart() {
        assert!(ignore_not_found::<()>(Err(refused(404, ""))).is_ok());
        assert!(ignore_not_found::<()>(Err(refused(403, ""))).is_err());
        assert!(is_conflict(&refused(409, "")) && !is_conflict(&refused(404, "")));
    }

    #[test]
    fn admission_rejections_are_recognized() {
        let cases = [
            (
                403,
                "configmaps \"kube-root-ca.crt\" is forbidden: exceeded quota: q, requested: count/configmaps=1",
                true,
            ),
            (
                400,
                "admission webhook \"policy.example.org\" denied the request: no owner label",
                true,
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"policy.example.org\": connection refused",
                true,
            ),
            (
                422,
                "admission webhook \"policy.example.org\" denied the request",
                true,
            ),
            (
                500,
                "Internal error occurred: etcdserver: request timed out",
                false,
            ),
            (503, "apiserver not ready", false),
            (401, "Unauthorized", false),
            (409, "already exists", false),
        ];
        for (code, message, expected) in cases {
            assert_eq!(
                is_admission_rejection(&refused(code, message)),
                expected,
                "{code} {message}"
            );
        }
    }
}
