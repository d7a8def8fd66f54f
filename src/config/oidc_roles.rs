//! Which groups of a provider, or of a proxy, get which role.
//!
//! A rule is a line: `floor-leads = operator pools=crm,phone tenants=acme`.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::access_key::Role;
use crate::names::{Invalid, PoolName, Tenant};
use crate::scope::{Grant, Scope};

/// Maximum number of rules.
const MAX: usize = 1_000;

/// What the members of one group may do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RoleRule {
    group: String,
    role: Role,
    grant: Grant,
}

/// All rules, in their order, which means nothing: of the roles that somebody's groups have the highest counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleRules(Vec<RoleRule>);

impl RoleRules {
    /// Whether the list is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some rule names this group.
    pub fn names(&self, group: &str) -> bool {
        self.0.iter().any(|rule| rule.group == group)
    }

    /// What a member of these groups may do; none if no rule names one of them.
    ///
    /// The highest role counts, with everything that the rules of that role give.
    pub fn of_groups<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a str>,
    ) -> Option<(Role, Scope)> {
        let groups: Vec<&str> = groups.into_iter().collect();
        let matching = || {
            let rules = self.0.iter();
            rules.filter(|rule| groups.iter().any(|group| *group == rule.group))
        };
        let role = matching().map(|rule| rule.role).max()?;
        let mut scope = Scope::default();
        for rule in matching().filter(|rule| rule.role == role) {
            scope.add(&rule.grant);
        }
        Some((role, scope))
    }

    /// Each rule as it is written.
    pub(super) fn to_lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Rules in one text, as the environment has them: a JSON list, or separated by semicolons, line ends or commas. A comma also
    /// separates pools, so what stands behind one is a new rule only if it reads like one.
    pub(super) fn lines(text: &str) -> Vec<String> {
        if text.starts_with('[')
            && let Ok(list) = serde_json::from_str(text)
        {
            return list;
        }
        let mut lines: Vec<String> = Vec::new();
        for part in text.split([';', '\n']).map(str::trim) {
            if part.is_empty() {
                continue;
            }
            if part.parse::<RoleRule>().is_ok() {
                lines.push(part.to_owned());
                continue;
            }
            let mut rules: Vec<String> = Vec::new();
            for piece in part.split(',') {
                let is_new = piece.parse::<RoleRule>().is_ok();
                match rules.last_mut() {
                    Some(last) if !is_new => {
                        last.push(',');
                        last.push_str(piece);
                    }
                    _ => rules.push(piece.trim().to_owned()),
                }
            }
            lines.extend(rules);
        }
        lines
    }
}

/// What `--oidc-role` says.
pub(super) fn flag(line: &str) -> Result<RoleRules, Invalid> {
    Ok(RoleRules(vec![line.trim().parse()?]))
}

impl fmt::Display for RoleRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, rule) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{rule}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RoleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.group, self.role.as_str())?;
        if !self.grant.pools.is_empty() {
            let pools: Vec<&str> = self.grant.pools.iter().map(PoolName::as_str).collect();
            write!(f, " pools={}", pools.join(","))?;
        }
        if !self.grant.tenants.is_empty() {
            let tenants: Vec<&str> = self.grant.tenants.iter().map(Tenant::as_str).collect();
            write!(f, " tenants={}", tenants.join(","))?;
        }
        Ok(())
    }
}

impl std::str::FromStr for RoleRule {
    type Err = Invalid;

    fn from_str(line: &str) -> Result<Self, Invalid> {
        let invalid = |sentence: String| Invalid(format!("has the rule {line:?}, {sentence}"));
        let role_in = |words: &str| {
            let word = words.split_whitespace().next()?;
            word.parse::<Role>().ok()
        };
        // A group of a directory has equals signs of its own: CN=leads,OU=desk.
        let found = line.match_indices('=').find_map(|(at, _)| {
            let (group, words) = (line[..at].trim(), &line[at + 1..]);
            Some((group, role_in(words)?, words))
        });
        let Some((group, role, words)) = found.filter(|(group, ..)| !group.is_empty()) else {
            return Err(invalid("which names no group, or no role".to_owned()));
        };
        if role < Role::Reports {
            return Err(invalid(format!("but only a key is a {}", role.as_str())));
        }
        let mut grant = Grant::default();
        for word in words.split_whitespace().skip(1) {
            match word.split_once('=') {
                Some(("pools", names)) => {
                    for name in names.split(',') {
                        grant.pools.push(
                            name.parse()
                                .map_err(|wrong| invalid(format!("but {wrong}")))?,
                        );
                    }
                }
                Some(("tenants", names)) => {
                    for name in names.split(',') {
                        let tenant = Tenant::try_from(name.to_owned());
                        grant
                            .tenants
                            .push(tenant.map_err(|wrong| invalid(format!("but {wrong}")))?);
                    }
                }
                _ => return Err(invalid(format!("in which {word:?} means nothing"))),
            }
        }
        Ok(Self {
            group: group.to_owned(),
            role,
            grant,
        })
    }
}

impl<'de> Deserialize<'de> for RoleRules {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        let list = Vec::<String>::deserialize(list)?;
        if list.len() > MAX {
            return Err(D::Error::custom(format!("has more than {MAX} rules")));
        }
        let rules = list.iter().map(|line| line.trim().parse());
        let rules = rules.collect::<Result<_, Invalid>>();
        rules.map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lines: &[&str]) -> RoleRules {
        RoleRules(lines.iter().map(|line| line.parse().unwrap()).collect())
    }

    #[test]
    fn the_highest_role_counts_with_all_that_its_rules_give() {
        let rules = rules(&[
            "readers = viewer",
            "floor-leads = operator pools=crm,phone",
            "acme admins = operator tenants=acme",
            "CN=seat-admins,OU=desk = admin",
        ]);
        let of = |groups: &[&str]| rules.of_groups(groups.iter().copied());
        assert_eq!(of(&["others", "Readers"]), None);
        assert_eq!(of(&["readers"]), Some((Role::Viewer, Scope::everything())));
        let (role, scope) = of(&["readers", "floor-leads", "acme admins"]).unwrap();
        assert_eq!(role, Role::Operator);
        let pool = |name: &str| name.parse::<PoolName>().unwrap();
        assert_eq!(scope.tenants_in(&pool("crm")), None);
        assert_eq!(scope.tenants_in(&pool("mail")).unwrap().len(), 1);
        let admin = of(&["CN=seat-admins,OU=desk", "readers"]);
        assert_eq!(admin, Some((Role::Admin, Scope::everything())));
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        for line in [
            "",
            "leads",
            "leads =",
            "= operator",
            "leads = boss",
            "leads = client",
            "leads = verifier",
            "leads = operator pool=crm",
            "leads = operator pools=",
            "leads = operator pools=a/b",
        ] {
            assert!(line.parse::<RoleRule>().is_err(), "{line}");
        }
    }

    #[test]
    fn one_text_has_rules_behind_each_other() {
        let expected = ["floor-leads = operator pools=crm,phone", "admins = admin"];
        for text in [
            "floor-leads = operator pools=crm,phone; admins = admin",
            "floor-leads = operator pools=crm,phone\nadmins = admin\n",
            "floor-leads = operator pools=crm,phone, admins = admin",
            "[\"floor-leads = operator pools=crm,phone\", \"admins = admin\"]",
        ] {
            assert_eq!(RoleRules::lines(text), expected, "{text}");
        }
        assert_eq!(RoleRules::lines("CN=a,OU=b = admin"), ["CN=a,OU=b = admin"]);
    }
}
