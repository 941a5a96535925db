//! What is wrong with a word, and "did you mean": the nearest of the names that would have been right.

/// Why a word of the file does not mean what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: Some(suggestion.into()) }
    }
}

/// `did you mean …?` where one name is near enough, otherwise what is permitted (where that is short).
pub(crate) fn suggest<'a>(word: &str, permitted: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let permitted: Vec<&str> = permitted.into_iter().collect();
    if let Some(near) = nearest(word, &permitted) {
        return Some(format!("did you mean `{near}`?"));
    }
    /// More than this many names help nobody.
    const LISTED: usize = 24;
    (!permitted.is_empty() && permitted.len() <= LISTED).then(|| {
        format!(
            "permitted: {}",
            permitted.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )
    })
}

fn nearest<'a>(word: &str, permitted: &[&'a str]) -> Option<&'a str> {
    /// Longer words are not compared: the distance takes time by the square of the length.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    let tolerated = ((word.chars().count() + 1) / 3).max(1);
    permitted
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= tolerated && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::suggest;

    #[test]
    fn the_nearest_name_or_all_of_them() {
        let names = ["callmanagers", "phones", "nms"];
        assert_eq!(suggest("callmanager", names).as_deref(), Some("did you mean `callmanagers`?"));
        assert_eq!(suggest("Phones", names).as_deref(), Some("did you mean `phones`?"));
        assert_eq!(suggest("trunk", names).as_deref(), Some("permitted: `callmanagers`, `phones`, `nms`"));
        assert_eq!(suggest("x", []), None);
    }
}
