//! Accounts: who a REST request comes from, and what it may touch.

#![forbid(unsafe_code)]

use std::hint::black_box;

use postern_config::Config;
use postern_types::{AccountSid, Secret};

/// The tenants of one configuration. Made anew when the configuration changes.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    accounts: Vec<(AccountSid, Secret<String>)>,
}

/// The credentials are of nobody: which part was wrong is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl Accounts {
    /// Those of the configuration.
    pub fn new(config: &Config) -> Self {
        let mut accounts: Vec<_> = config.accounts.values().map(|a| (a.sid, a.token.clone())).collect();
        accounts.sort_by_key(|(sid, _)| *sid);
        Self { accounts }
    }

    /// Checks the user and password of Basic authentication. Takes as long for an unknown SID as for a wrong token.
    pub fn authenticate(&self, sid: &str, token: &str) -> Result<AccountSid, Refused> {
        let known = sid.parse().ok().and_then(|sid| self.find(sid));
        let (expected, exists) = match known {
            Some((_, secret)) => (secret.expose().as_str(), true),
            // Some text to compare with, so that the answer's time does not tell whether the account exists.
            None => ("00000000000000000000000000000000", false),
        };
        let same = same_bytes(expected.as_bytes(), token.as_bytes());
        match known {
            Some((sid, _)) if exists & same => Ok(*sid),
            _ => Err(Refused),
        }
    }

    /// Whether `account` may see and change what belongs to `owner`. What belongs to nobody is the admin's alone.
    pub fn owns(&self, account: AccountSid, owner: Option<AccountSid>) -> bool {
        owner == Some(account)
    }

    /// The key by which requests to the account's application servers are signed.
    pub fn token(&self, account: AccountSid) -> Option<&Secret<String>> {
        self.find(account).map(|(_, token)| token)
    }

    /// Whether there is such an account.
    pub fn knows(&self, account: AccountSid) -> bool {
        self.find(account).is_some()
    }

    fn find(&self, sid: AccountSid) -> Option<&(AccountSid, Secret<String>)> {
        self.accounts.binary_search_by_key(&sid, |(sid, _)| *sid).ok().map(|at| &self.accounts[at])
    }
}

/// Compares without stopping at the first difference: the time depends on what was sent, not on the secret.
fn same_bytes(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = usize::from(expected.len() != given.len());
    for (at, byte) in given.iter().enumerate() {
        let other = if expected.is_empty() { 0 } else { expected[at % expected.len()] };
        difference |= usize::from(byte ^ other);
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            accounts: vec![(AccountSid(1), Secret::new("abc".into())), (AccountSid(2), Secret::new("xyz".into()))],
        }
    }

    #[test]
    fn only_the_right_token_of_a_known_account_is_taken() {
        let accounts = accounts();
        let one = AccountSid(1).to_string();
        for (sid, token, want) in [
            (one.as_str(), "abc", Ok(AccountSid(1))),
            (&AccountSid(2).to_string(), "xyz", Ok(AccountSid(2))),
            (&one, "xyz", Err(Refused)),
            (&one, "", Err(Refused)),
            (&one, "abcabc", Err(Refused)),
            (&one, "ab", Err(Refused)),
            (&AccountSid(3).to_string(), "00000000000000000000000000000000", Err(Refused)),
            ("nonsense", "abc", Err(Refused)),
        ] {
            assert_eq!(accounts.authenticate(sid, token), want, "{sid} {token}");
        }
    }

    #[test]
    fn what_belongs_to_another_or_to_nobody_is_not_owned() {
        let accounts = accounts();
        assert!(accounts.owns(AccountSid(1), Some(AccountSid(1))));
        assert!(!accounts.owns(AccountSid(1), Some(AccountSid(2))));
        assert!(!accounts.owns(AccountSid(1), None));
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert!(!format!("{:?}", accounts()).contains("abc"));
    }
}
