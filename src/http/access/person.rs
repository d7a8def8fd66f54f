//! People whom somebody else has logged in: a provider of single sign-on, or a proxy. What they may do, their groups say, by the rules of
//! the settings.

use crate::access_key::Role;
use crate::http::App;
use crate::http::problem::{Code, Problem};
use crate::names::shown;
use crate::scope::Scope;
use crate::store::SessionOfPerson;

/// Where a person was logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The provider of the settings.
    Provider,
    /// A trusted proxy, with each request.
    Proxy,
}

impl Source {
    /// What the names of actors begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Provider => "oidc",
            Self::Proxy => "proxy",
        }
    }
}

/// Somebody who showed no key.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// The actor in the trail: the source, and who it is there.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) role: Role,
    pub(super) scope: Scope,
}

impl Person {
    /// Somebody with these groups; none if no rule names one of them.
    pub(super) fn with_groups<'a>(
        app: &App,
        source: Source,
        subject: &str,
        name: &str,
        groups: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let (role, scope) = app.0.access.roles.of_groups(groups)?;
        Some(Self {
            id: actor(source, subject),
            name: name.to_owned(),
            source,
            role,
            scope,
        })
    }

    /// The person of a session, with the role that the present settings give.
    pub(super) fn of_session(app: &App, session: &SessionOfPerson) -> Option<Self> {
        let provider = app.0.provider.as_ref()?;
        if provider.issuer() != session.issuer {
            return None;
        }
        let groups = session.groups.iter().map(String::as_str);
        Self::with_groups(
            app,
            Source::Provider,
            &session.subject,
            &session.name,
            groups,
        )
    }
}

/// The name of an actor.
pub(super) fn actor(source: Source, subject: &str) -> String {
    format!("{}:{}", source.prefix(), shown(subject))
}

/// What somebody reads whose groups have no rule.
pub(crate) fn no_role<'a>(who: &str, groups: impl IntoIterator<Item = &'a str>) -> Problem {
    const SHOWN: usize = 50;
    let groups: Vec<_> = groups.into_iter().collect();
    let listed: Vec<String> = groups
        .iter()
        .take(SHOWN)
        .map(|group| format!("\"{}\"", shown(group)))
        .collect();
    let listed = match (listed.is_empty(), groups.len().saturating_sub(SHOWN)) {
        (true, _) => "no groups".to_owned(),
        (false, 0) => format!("the groups {}", listed.join(", ")),
        (false, more) => format!("the groups {} and {more} more", listed.join(", ")),
    };
    Problem::new(
        Code::Forbidden,
        format!(
            "{} is logged in, and comes with {listed}. None of them has a role here. Ask who runs this server to name one in \
             oidc_roles, or to put you into another group.",
            shown(who)
        ),
    )
}
