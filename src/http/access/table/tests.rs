use super::*;

/// `docs/roles.md`, made of the table.
fn matrix() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Who may do what\n\nMade of the table that the program asks (`src/http/access/table.rs`); a test compares them. A role may do what a \
         `yes` stands for.\n\n- **roles**: [what each is for](keys.md).\n- **own pools**: a key that names pools sees these and no others, and of the trail \
         what was done in\n  these and what it did itself. Elsewhere a path has to name one of its pools.\n- **tenants**: a key or login for some tenants only (`tenants` of a key, `tenants=` of a rule in \
         `oidc_roles`) may use these routes, and\n  sees and touches only theirs: leases, people, places in the queue (counted among their own), their own \
         blocks\n  and those for all of their people, denials and holders in reports, their own actions in the trail, keys for no more than they have. Numbers of a pool are their own, with `capacity` no more \
         than their maxima. All other\n  routes refuse them (403). Somebody of another tenant is answered like somebody who does not exist.\n\
         - **keys**: a key for some pools or tenants only has to be one of the role `admin` to list, make or change keys, and does so for no more\n  \
         than it has.\n- **client keys with a tenant**: whoever acquires with one reads the use of that tenant in `availability`, where the pool counts \
         tenants,\n  and nowhere how much others use.\n",
    );
    for (title, pages) in [("Interface", false), ("Pages", true)] {
        let _ = write!(
            text,
            "\n## {title}\n\n| route | client | verifier | reports | viewer | operator | admin | own pools | tenants |\n| {} |\n",
            ["---"; 9].join(" | ")
        );
        for row in TABLE
            .iter()
            .filter(|row| row.path.starts_with("/admin") == pages)
        {
            if matches!(row.rule, Rule::Anybody | Rule::Token) {
                continue;
            }
            let _ = write!(text, "| `{} {}` |", row.method, row.path);
            for role in Role::ALL {
                let may = super::super::authorize::role_is_enough(row.rule, role, true);
                text += if may { " yes |" } else { " |" };
            }
            let own = matches!(row.rule, Rule::OwnPools(_) | Rule::Keys(_) | Rule::Check);
            text += if own { " yes |" } else { " |" };
            text += if row.keeps_to_tenants {
                " yes |\n"
            } else {
                " |\n"
            };
        }
    }
    text
}

#[test]
fn the_document_of_roles_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/roles.md");
    let matrix = matrix();
    if std::env::var_os("LEASEHOLD_TEST_WRITE").is_some() {
        std::fs::write(path, &matrix).expect("written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == matrix,
        "docs/roles.md is not what the table says: run LEASEHOLD_TEST_WRITE=1 cargo test --lib the_document_of_roles"
    );
}

#[test]
fn each_method_of_a_path_has_one_rule() {
    let mut seen = std::collections::HashSet::new();
    for row in TABLE {
        assert!(
            seen.insert((row.method, row.path)),
            "{} {}",
            row.method,
            row.path
        );
    }
}

#[test]
fn what_changes_something_for_an_operator_is_in_the_trail() {
    for row in TABLE {
        if matches!(row.rule, Rule::Role(_) | Rule::OwnPools(_) | Rule::Keys(_)) {
            assert_eq!(
                row.method != "GET",
                row.action.is_some(),
                "{} {}",
                row.method,
                row.path
            );
        }
    }
}
