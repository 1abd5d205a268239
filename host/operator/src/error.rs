//! The one error of the controllers, and how soon each kind of it is worth another try.

use std::time::Duration;

/// Why a reconcile did not get to its end. The text never holds a secret: the operator has none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a request, or did not answer it.
    #[error("cannot {action}: {source}")]
    Api {
        /// What was asked, as `create Job demo/sample`.
        action: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// An object of the name that is needed belongs to somebody else.
    #[error("{kind} {namespace}/{name} exists and belongs to somebody else; delete or rename it")]
    Foreign {
        /// Its kind.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// It would reach into a namespace that is not open to it.
    #[error("{0}")]
    NotAllowed(String),
    /// A reconcile went on for so long that it was given up: a request has got no answer.
    #[error("the API server has not answered within {0:?}; it is asked again")]
    Silent(Duration),
    /// Something that has to happen first has not happened yet.
    #[error("waiting: {0}")]
    Waiting(String),
    /// A part of a manifest cannot be turned into an object of Kubernetes.
    #[error("{field} is malformed: {why}; correct it")]
    Malformed {
        /// Where it is, as `addon.jobTemplate`.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// An object without a name or a namespace, which no API server hands out.
    #[error("an object of kind {0} has no name or no namespace")]
    Nameless(String),
}

/// How soon a failed reconcile is worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It may succeed at once: a conflict, an overloaded or restarting server.
    Transient,
    /// Somebody else has to do something first.
    Waiting,
    /// Nothing helps but a change of the object, or of another one, by somebody.
    Terminal,
}

/// Pause after the first transient failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between transient failures.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// Pause while somebody else has to do something.
const WAITING_PAUSE: Duration = Duration::from_secs(15);
/// A quiet heartbeat, in case the world changed without a trace.
const TERMINAL_PAUSE: Duration = Duration::from_mins(30);

impl Error {
    /// For `map_err` on a request: what was asked.
    pub fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Api { action, source: Box::new(source) }
    }

    /// How soon another try is worth it. Exhaustive on purpose: a new variant does not compile unclassified.
    pub fn class(&self) -> Class {
        match self {
            Self::Api { source, .. } => class_of(source),
            Self::Silent(_) => Class::Transient,
            // Another's Job ends one day, and makes room.
            Self::Foreign { kind: "Job", .. } | Self::Waiting(_) => Class::Waiting,
            Self::Foreign { .. } | Self::NotAllowed(_) | Self::Malformed { .. } | Self::Nameless(_) => Class::Terminal,
        }
    }

    /// Whether a step that has been due for `waited` will not succeed any more. What others have to do first they may do
    /// until `limit`, and so long may a webhook be broken.
    pub fn is_hopeless(&self, waited: Duration, limit: Duration) -> bool {
        match self.class() {
            Class::Terminal => true,
            Class::Waiting => waited >= limit,
            Class::Transient => waited >= limit && self.is_broken_webhook(),
        }
    }

    /// Whether the API server could not ask a webhook that has a say. It calls that an internal error, as it does much that passes.
    fn is_broken_webhook(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        matches!(source.as_ref(), kube::Error::Api(status) if status.code == 500 && status.message.contains("failed calling webhook"))
    }

    /// Whether the API server said that the object has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(source.as_ref(), kube::Error::Api(status) if status.is_conflict()))
    }

    /// Whether the namespace is on its way out, so that nothing can be created in it any more.
    pub fn is_namespace_ending(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        let kube::Error::Api(status) = source.as_ref() else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        status.is_forbidden() && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }
}

impl Class {
    /// The pause before the next try, after `failures` failures in a row (this one included).
    pub fn pause(self, failures: u32) -> Duration {
        match self {
            Self::Transient => {
                let doublings = failures.saturating_sub(1).min(16);
                FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
            }
            Self::Waiting => WAITING_PAUSE,
            Self::Terminal => TERMINAL_PAUSE,
        }
    }

    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Waiting => "waiting",
            Self::Terminal => "terminal",
        }
    }
}

/// The class of an answer: what the request says about itself is final, everything else passes.
fn class_of(error: &kube::Error) -> Class {
    match error {
        kube::Error::Api(status) => match status.code {
            // Rights, quotas, admission and missing definitions are other people's to change.
            401 | 403 | 404 => Class::Waiting,
            400 | 405 | 413 | 415 | 422 => Class::Terminal,
            _ => Class::Transient,
        },
        kube::Error::BuildRequest(_) => Class::Terminal,
        _ => Class::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use rstest::rstest;

    fn answer(code: u16, reason: &str) -> Error {
        Error::api("create Job demo/sample")(kube::Error::Api(Status::failure("no", reason).with_code(code).boxed()))
    }

    #[rstest]
    #[case(409, "Conflict", Class::Transient)]
    #[case(409, "AlreadyExists", Class::Transient)]
    #[case(429, "TooManyRequests", Class::Transient)]
    #[case(500, "InternalError", Class::Transient)]
    #[case(503, "ServiceUnavailable", Class::Transient)]
    #[case(403, "Forbidden", Class::Waiting)]
    #[case(404, "NotFound", Class::Waiting)]
    #[case(422, "Invalid", Class::Terminal)]
    #[case(400, "BadRequest", Class::Terminal)]
    fn answers_have_a_class(#[case] code: u16, #[case] reason: &str, #[case] class: Class) {
        assert_eq!(answer(code, reason).class(), class);
    }

    #[rstest]
    #[case(409, 9999, false)]
    #[case(503, 9999, false)]
    #[case(500, 9999, false)]
    #[case(403, 1799, false)]
    #[case(403, 1800, true)]
    #[case(422, 0, true)]
    fn others_have_their_time(#[case] code: u16, #[case] waited: u64, #[case] hopeless: bool) {
        let limit = Duration::from_mins(30);
        assert_eq!(answer(code, "").is_hopeless(Duration::from_secs(waited), limit), hopeless);
    }

    #[test]
    fn a_webhook_has_its_time_to_be_mended() {
        let why = r#"Internal error occurred: failed calling webhook "jobs.example.org": no endpoints available"#;
        let status = Status::failure(why, "InternalError").with_code(500);
        let error = Error::api("create Job demo/sample")(kube::Error::Api(status.boxed()));
        let limit = Duration::from_mins(30);
        assert!(!error.is_hopeless(Duration::from_secs(1799), limit) && error.is_hopeless(limit, limit));
    }

    #[test]
    fn pauses_grow_to_a_limit_for_transient_failures_only() {
        let pauses: Vec<_> = (1..=4).map(|failures| Class::Transient.pause(failures).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000]);
        assert_eq!(Class::Transient.pause(u32::MAX), LONGEST_PAUSE);
        assert_eq!(Class::Waiting.pause(9), WAITING_PAUSE);
        assert_eq!(Class::Terminal.pause(9), TERMINAL_PAUSE);
    }

    #[test]
    fn what_somebody_has_to_change_is_not_tried_again_at_once() {
        let foreign = Error::Foreign { kind: "ServiceAccount", namespace: "demo".to_owned(), name: "j".to_owned() };
        for error in [foreign, Error::NotAllowed("no".to_owned()), Error::Nameless("Job".to_owned())] {
            assert_eq!(error.class(), Class::Terminal, "{error}");
        }
    }

    #[test]
    fn conflicts_and_ending_namespaces_are_told_apart() {
        assert!(answer(409, "Conflict").is_conflict());
        assert!(!answer(409, "AlreadyExists").is_conflict());
        assert!(!answer(403, "Forbidden").is_namespace_ending());
        let details = serde_json::from_value(serde_json::json!({
            "causes": [{"reason": "NamespaceTerminating", "message": "namespace demo is being terminated"}]
        }));
        let status = Status::failure("no", "Forbidden").with_code(403).with_details(details.unwrap());
        assert!(Error::api("create")(kube::Error::Api(status.boxed())).is_namespace_ending());
    }
}
