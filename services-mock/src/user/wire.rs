//! Preferences and addresses in the wire format, with their defaults and their validation.

use serde::{Deserialize, Serialize};

use crate::catalogue::CATEGORIES;
use crate::response::Problem;
use crate::users::User;

const LANGUAGES: [&str; 6] = ["en", "de", "fr", "it", "es", "pt"];

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Preferences {
    language: String,
    subtitles: bool,
    autoplay: bool,
    favourite_genres: Vec<String>,
}

impl Preferences {
    pub(super) fn of(user: &User) -> Self {
        let language = if matches!(user.region, "GB" | "US" | "FR") {
            "en"
        } else {
            "de"
        };
        let genres = if user.maturity == "all" {
            vec!["family", "animation"]
        } else {
            vec!["drama", "thriller"]
        };
        Self {
            language: language.to_owned(),
            subtitles: false,
            autoplay: true,
            favourite_genres: genres.into_iter().map(str::to_owned).collect(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        if !LANGUAGES.contains(&self.language.as_str()) {
            return Err(Problem::invalid(format!(
                "language must be one of {}",
                LANGUAGES.join(", ")
            )));
        }
        let unknown = |genre: &&String| CATEGORIES.iter().all(|(id, _)| id != genre);
        match self.favourite_genres.iter().find(unknown) {
            Some(genre) => Err(Problem::invalid(format!("unknown genre `{genre}`"))),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Address {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) address: PostalAddress,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PostalAddress {
    name: String,
    street: String,
    city: String,
    postal_code: String,
    country: String,
}

impl PostalAddress {
    pub(super) fn of(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            street: "Hauptstr. 1".to_owned(),
            city: "Springfield".to_owned(),
            postal_code: "10115".to_owned(),
            country: user.region.to_owned(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let texts = [&self.name, &self.street, &self.city, &self.postal_code];
        if texts
            .iter()
            .any(|text| !(1..=100).contains(&text.trim().chars().count()))
        {
            return Err(Problem::invalid(
                "name, street, city and postalCode must have 1 to 100 characters",
            ));
        }
        if self.country.len() != 2 || !self.country.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(Problem::invalid("country must be two capital letters"));
        }
        Ok(())
    }
}
