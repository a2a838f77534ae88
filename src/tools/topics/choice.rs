//! A value on the command line for all topics (`7d`), or for one topic (`reports=30d`).

/// A value and its topic; `None` means each topic without a separate value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<T> {
    pub topic: Option<String>,
    pub value: T,
}

impl<T> Choice<T> {
    /// Reads `VALUE` or `TOPIC=VALUE`. A topic's name has no `=`.
    ///
    /// # Errors
    /// Those of `value`.
    pub fn parse<E>(text: &str, value: impl FnOnce(&str) -> Result<T, E>) -> Result<Self, E> {
        let (topic, text) = match text.split_once('=') {
            Some((topic, text)) => (Some(topic.trim().to_owned()), text.trim()),
            None => (None, text),
        };
        value(text).map(|value| Self { topic, value })
    }
}

/// Returns the value for `topic`: its separate value, or else the value for all topics.
#[must_use]
pub fn chosen<T: Copy>(choices: &[Choice<T>], topic: &str) -> Option<T> {
    let own = choices
        .iter()
        .find(|choice| choice.topic.as_deref() == Some(topic));
    let for_all = choices.iter().find(|choice| choice.topic.is_none());
    own.or(for_all).map(|choice| choice.value)
}

/// Checks that the choices of `flag` are for `topics`, with at most one choice each.
///
/// # Errors
/// A message about the first wrong choice.
pub fn check<T>(flag: &str, choices: &[Choice<T>], topics: &[&str]) -> Result<(), String> {
    for (place, Choice { topic, .. }) in choices.iter().enumerate() {
        let is_repeated = choices[..place].iter().any(|other| other.topic == *topic);
        match topic.as_deref() {
            Some(name) if !topics.contains(&name) => {
                let topics = topics.join(", ");
                return Err(format!(
                    "{flag} {name}=…: {name} is not among the topics: {topics}; name it with --topic, or correct it"
                ));
            }
            Some(name) if is_repeated => {
                return Err(format!("{flag} {name}=… is given twice; give it once"));
            }
            None if is_repeated => {
                return Err(format!(
                    "{flag} is given twice for all topics; give it once, or for one of them as {flag} TOPIC=…"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(typed: &[&str]) -> Vec<Choice<u32>> {
        let parse = |text: &&str| Choice::parse(text, str::parse).expect("a number");
        typed.iter().map(parse).collect()
    }

    #[test]
    fn a_topics_value_overrides_the_value_for_all() {
        for (typed, reports, rejected) in [
            (&[][..], None, None),
            (&["7"], Some(7), Some(7)),
            (&["7", "rejected=30"], Some(7), Some(30)),
            (&["rejected = 30", "7"], Some(7), Some(30)),
            (&["rejected=30"], None, Some(30)),
        ] {
            let choices = choices(typed);
            let values = ["reports", "rejected"].map(|topic| chosen(&choices, topic));
            assert_eq!(values, [reports, rejected], "{typed:?}");
        }
    }

    #[test]
    fn a_choice_for_an_unknown_topic_or_given_twice_is_refused() {
        for (typed, refused) in [
            (&["7", "rejected=30"][..], None),
            (
                &["other=7"],
                Some(
                    "--flag other=…: other is not among the topics: reports, rejected; \
                     name it with --topic, or correct it",
                ),
            ),
            (
                &["rejected=7", "rejected=8"],
                Some("--flag rejected=… is given twice; give it once"),
            ),
            (
                &["7", "8"],
                Some(
                    "--flag is given twice for all topics; give it once, or for one of them as --flag TOPIC=…",
                ),
            ),
        ] {
            let checked = check("--flag", &choices(typed), &["reports", "rejected"]);
            assert_eq!(checked.err().as_deref(), refused, "{typed:?}");
        }
    }
}
