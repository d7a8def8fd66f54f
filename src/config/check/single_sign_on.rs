//! What a single sign-on needs, by a provider or by a proxy.

use crate::config::{Loaded, WrongSetting};

impl Loaded {
    /// Refuses a single sign-on that lacks something, or that would let in the wrong people.
    pub(super) fn check_single_sign_on(&self) -> Result<(), WrongSetting> {
        let settings = &self.settings;
        let lacks = |first: &'static str, second: &'static str, right: &str| {
            Err(self.together(
                [first, second],
                format!("do not go one without the other: {second} is not set"),
                right,
            ))
        };
        let roles = "name a role for each group, such as oidc_roles = [\"floor-leads = operator pools=crm\"]";
        let key = "keep an admin_key as the way in when the single sign-on fails";
        settings.oidc_ca()?;
        if settings.oidc_issuer.is_some() {
            if settings.oidc_client_id.is_none() {
                return lacks(
                    "oidc_issuer",
                    "oidc_client_id",
                    "give the client id that the provider has for this installation",
                );
            }
            if settings.public_url.is_none() {
                return lacks(
                    "oidc_issuer",
                    "public_url",
                    "give the address of the admin pages, to which the provider leads back",
                );
            }
            if settings.oidc_roles.is_empty() {
                return lacks("oidc_issuer", "oidc_roles", roles);
            }
            if settings.is_open() {
                return lacks("oidc_issuer", "admin_key", key);
            }
        } else if settings.oidc_client_id.is_some() {
            return lacks(
                "oidc_client_id",
                "oidc_issuer",
                "give the address of the provider",
            );
        }
        if settings.proxy_user_header.is_some() {
            if settings.proxy_groups_header.is_none() {
                return lacks(
                    "proxy_user_header",
                    "proxy_groups_header",
                    "give the header in which the proxy names the groups of a person",
                );
            }
            if settings.trusted_proxies.is_empty() {
                return lacks(
                    "proxy_user_header",
                    "trusted_proxies",
                    "give the address of the proxy: nobody else is believed",
                );
            }
            if settings.oidc_roles.is_empty() {
                return lacks("proxy_user_header", "oidc_roles", roles);
            }
            if settings.is_open() {
                return lacks("proxy_user_header", "admin_key", key);
            }
            if settings.proxy_secret.is_none() && !settings.listen.ip().to_canonical().is_loopback()
            {
                return lacks(
                    "proxy_user_header",
                    "proxy_secret",
                    "give a secret, and let the proxy send it in the header Leasehold-Proxy-Secret; on loopback none is needed",
                );
            }
        } else if settings.proxy_groups_header.is_some() {
            return lacks(
                "proxy_groups_header",
                "proxy_user_header",
                "give the header in which the proxy names the person",
            );
        }
        Ok(())
    }
}
