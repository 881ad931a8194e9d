//! `postern messages`: how many voice messages wait for a user, and to say so for a voice mail that has no other way to tell it.

use serde_json::Value;

use crate::{
    Failure,
    client::{Client, with_query},
    print,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Whose.
    user: String,
    /// So many wait from now on, not heard yet; its phones are told.
    #[arg(long, value_name = "N")]
    new: Option<u32>,
    /// So many that were heard before.
    #[arg(long, value_name = "N", requires = "new", default_value_t = 0)]
    old: u32,
    /// Of the new ones, urgent.
    #[arg(long, value_name = "N", requires = "new", default_value_t = 0)]
    new_urgent: u32,
    /// Of the old ones, urgent.
    #[arg(long, value_name = "N", requires = "new", default_value_t = 0)]
    old_urgent: u32,
}

pub(crate) async fn run(client: &Client, arguments: &Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { user, new, old, new_urgent, old_urgent } = arguments;
    let named = ("user", user.as_str());
    let answer = match new {
        Some(new) => {
            let [new, old, new_urgent, old_urgent] = [new, old, new_urgent, old_urgent].map(u32::to_string);
            let wanted =
                [named, ("new", &new), ("old", &old), ("new_urgent", &new_urgent), ("old_urgent", &old_urgent)];
            client.post(&with_query("/v1/messages", &wanted)).await?
        }
        None => client.get(&with_query("/v1/messages", &[named])).await?,
    };
    print(json, &answer, |answer| told(user, answer))
}

fn told(user: &str, answer: &Value) -> String {
    let messages = &answer["messages"];
    let urgent = |name: &str| match messages[name].as_u64() {
        Some(count) if count > 0 => format!(" ({count} urgent)"),
        _ => String::new(),
    };
    format!(
        "{user}: {} new{}, {} old{}\n",
        messages["new"],
        urgent("new_urgent"),
        messages["old"],
        urgent("old_urgent")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_a_line() {
        let answer =
            |new_urgent| json!({ "messages": { "new": 2, "old": 5, "new_urgent": new_urgent, "old_urgent": 0 } });
        assert_eq!(told("alice", &answer(0)), "alice: 2 new, 5 old\n");
        assert_eq!(told("alice", &answer(1)), "alice: 2 new (1 urgent), 5 old\n");
    }
}
