//! Messages in words, and in the form of each service that people read alerts in.
//!
//! What is kept of a message is our own form ([`super::message`]); it is rendered anew for each attempt, so that no key and no
//! address of a receiver stands in what is kept. A message that a newer node wrote is read as far as its words are known.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::message::{self, TEST};
use crate::store::Delivery;
use crate::time::Timestamp;
use crate::webhook::{AlertType, Webhook, WebhookFormat};

/// One alert, in words for people.
struct Notice {
    kind: String,
    state: String,
    alert: String,
    pool: Option<String>,
    /// What happened, in a sentence.
    title: String,
    /// When, in a sentence.
    detail: String,
    at: String,
    page: Option<String>,
    runbook: Option<String>,
    data: Value,
}

impl Notice {
    fn of(delivery: &Delivery) -> Self {
        let mut message: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
        let data = message["data"].take();
        let word = |name: &str| data[name].as_str().map(str::to_owned);
        let instant = |name: &str| {
            let text = data[name].as_str()?;
            DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|at| at.with_timezone(&Utc))
        };
        let state = word("state").unwrap_or_default();
        Self {
            detail: detail(&state, instant("since"), instant("until")),
            kind: delivery.kind.clone(),
            alert: word("alert").unwrap_or_else(|| delivery.id.clone()),
            pool: word("pool"),
            title: match (word("summary"), data["reminder"].as_bool()) {
                (Some(summary), Some(true)) => format!("Reminder: {summary}"),
                (Some(summary), _) => summary,
                (None, _) => delivery.kind.clone(),
            },
            at: message["timestamp"].as_str().unwrap_or_default().to_owned(),
            page: word("page_url"),
            runbook: word("runbook_url"),
            state,
            data,
        }
    }

    fn is_test(&self) -> bool {
        self.kind == TEST
    }

    fn is_over(&self) -> bool {
        self.state == "resolved"
    }

    fn is_critical(&self) -> bool {
        self.kind
            .parse::<AlertType>()
            .is_ok_and(AlertType::is_critical)
    }

    /// The words of the link to its page.
    fn page_title(&self) -> String {
        match &self.pool {
            Some(pool) => format!("Open {pool}"),
            None => "Open the alerts".to_owned(),
        }
    }

    /// Its links, with what they are called.
    fn links(&self) -> Vec<(String, &str)> {
        let page = self.page.as_deref().map(|url| (self.page_title(), url));
        // What is over needs nothing done.
        let runbook = self.runbook.as_deref().filter(|_| !self.is_over());
        let runbook = runbook.map(|url| ("What to do".to_owned(), url));
        page.into_iter().chain(runbook).collect()
    }
}

/// When it was, as a sentence; empty if nothing is known of that.
fn detail(state: &str, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> String {
    let whole = |at: DateTime<Utc>| at.format("%H:%M UTC on %-d %B %Y").to_string();
    match (state, since, until) {
        ("firing", Some(since), _) => format!("Since {}.", whole(since)),
        (_, Some(since), Some(until)) => {
            let lasted = lasted((until - since).num_seconds());
            format!("It began at {} and lasted {lasted}.", whole(since))
        }
        _ => String::new(),
    }
}

/// A length of time in the one or two units that matter.
fn lasted(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{} s", seconds.max(0)),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// The heading of a list.
fn heading(notices: &[Notice]) -> String {
    let over = notices.iter().filter(|notice| notice.is_over()).count();
    let new = notices.len() - over;
    match (new, over) {
        (new, 0) => format!("{new} new alerts"),
        (0, over) => format!("{over} alerts are over"),
        (new, over) => format!("{} alerts: {new} new, {over} over", new + over),
    }
}

/// The runbooks of a list, each once, with the type of alert that it is about. What is over needs nothing done.
fn runbooks(notices: &[Notice]) -> Vec<(&str, &str)> {
    let active = notices.iter().filter(|notice| !notice.is_over());
    let mut runbooks: Vec<(&str, &str)> = active
        .filter_map(|notice| Some((notice.kind.as_str(), notice.runbook.as_deref()?)))
        .collect();
    runbooks.sort_unstable();
    runbooks.dedup();
    runbooks
}

/// The same as the last line of a message; empty without any.
fn runbooks_line(notices: &[Notice], linked: impl Fn((String, &str)) -> String) -> String {
    let links = runbooks(notices).into_iter();
    let links: Vec<String> = links
        .map(|(kind, url)| linked((kind.to_owned(), url)))
        .collect();
    if links.is_empty() {
        return String::new();
    }
    format!("What to do: {}", links.join(" · "))
}

/// What is sent: the body of one request, for one delivery or for several that go together.
pub(super) fn body(webhook: &Webhook, deliveries: &[&Delivery], at: Timestamp) -> String {
    if webhook.format == WebhookFormat::Standard {
        return match deliveries {
            [alone] => alone.body.clone(),
            several => message::grouped(at, several),
        };
    }
    let notices: Vec<Notice> = deliveries.iter().map(|one| Notice::of(one)).collect();
    let value = match webhook.format {
        WebhookFormat::Teams => teams(&notices),
        WebhookFormat::Discord => discord(&notices),
        WebhookFormat::Pagerduty => pagerduty(webhook, &notices),
        WebhookFormat::Slack | WebhookFormat::Standard | WebhookFormat::Email => slack(&notices),
    };
    value.to_string()
}

/// Cuts a string to a number of characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Only `text`, which Slack, Mattermost, Rocket.Chat and Google Chat all take.
fn slack(notices: &[Notice]) -> Value {
    // Without this a name such as <!channel> would call everybody.
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let sign = |notice: &Notice| match notice.state.as_str() {
        "firing" => ":red_circle: ",
        "resolved" => ":large_green_circle: ",
        _ => "",
    };
    let linked = |(title, url): (String, &str)| format!("<{url}|{title}>");
    let text = match notices {
        [notice] => {
            let links: Vec<String> = notice.links().into_iter().map(linked).collect();
            let lines = [
                format!("{}*{}*", sign(notice), escaped(&notice.title)),
                notice.detail.clone(),
                links.join(" · "),
            ];
            let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            lines.join("\n")
        }
        several => {
            let mut text = format!("*{}*", heading(several));
            for notice in several {
                let title = escaped(&cut(&notice.title, 300));
                text.push_str(&format!("\n{}{title}", sign(notice)));
                if let Some(link) = notice.links().into_iter().next() {
                    text.push_str(&format!(" {}", linked(link)));
                }
            }
            format!("{text}\n{}", runbooks_line(several, linked))
                .trim_end()
                .to_owned()
        }
    };
    json!({ "text": text })
}

/// An adaptive card, of the version that all clients of Teams draw.
fn teams(notices: &[Notice]) -> Value {
    let color = |notice: &Notice| match notice.state.as_str() {
        "firing" => "Attention",
        "resolved" => "Good",
        _ => "Default",
    };
    let title = |text: &str, color: &str| {
        json!({"type": "TextBlock", "text": text, "weight": "Bolder", "size": "Medium", "wrap": true, "style": "heading",
            "color": color})
    };
    let line = |text: &str, color: &str| json!({"type": "TextBlock", "text": text, "wrap": true, "spacing": "Small", "color": color});
    let open =
        |title: &str, url: &str| json!({"type": "Action.OpenUrl", "title": title, "url": url});
    let (blocks, actions) = match notices {
        [notice] => {
            let mut blocks = vec![title(&notice.title, color(notice))];
            if !notice.detail.is_empty() {
                blocks.push(line(&notice.detail, "Default"));
            }
            let actions = notice
                .links()
                .into_iter()
                .map(|(title, url)| open(&title, url));
            (blocks, actions.collect::<Vec<_>>())
        }
        several => {
            let mut blocks = vec![title(&heading(several), "Default")];
            for notice in several {
                let mut text = cut(&notice.title, 250);
                if let Some((title, url)) = notice.links().into_iter().next() {
                    text.push_str(&format!(" [{title}]({url})"));
                }
                blocks.push(line(&text, color(notice)));
            }
            let runbooks = runbooks_line(several, |(title, url)| format!("[{title}]({url})"));
            if !runbooks.is_empty() {
                blocks.push(line(&runbooks, "Default"));
            }
            (blocks, Vec::new())
        }
    };
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": blocks,
                "actions": actions,
                "msteams": {"width": "full"},
            },
        }],
    })
}

fn discord(notices: &[Notice]) -> Value {
    let color = |notice: &Notice| match notice.state.as_str() {
        "firing" => 0x00c9_3a2e,
        "resolved" => 0x002e_8b57,
        _ => 0x0080_8080,
    };
    let linked = |(title, url): (String, &str)| format!("[{title}]({url})");
    let embed = match notices {
        [notice] => {
            let links: Vec<String> = notice.links().into_iter().map(linked).collect();
            let text = format!("{}\n{}", notice.detail, links.join(" · "));
            json!({"title": cut(&notice.title, 256), "description": cut(text.trim(), 4_096), "color": color(notice)})
        }
        several => {
            let lines: Vec<String> = several
                .iter()
                .map(|notice| {
                    let link = notice.links().into_iter().next().map(linked);
                    let line = format!("{} {}", cut(&notice.title, 120), link.unwrap_or_default());
                    format!("- {}", line.trim_end())
                })
                .collect();
            let worst = several
                .iter()
                .find(|notice| !notice.is_over())
                .unwrap_or(&several[0]);
            let lines = lines.join("\n");
            let whole = format!("{lines}\n{}", runbooks_line(several, linked));
            // The alerts come first where there is no room for all.
            let text = match whole.chars().count() {
                ..=4_096 => whole.trim_end(),
                _ => &lines,
            };
            json!({"title": heading(several), "description": cut(text, 4_096), "color": color(worst)})
        }
    };
    // Without this a name such as @everyone would call everybody.
    json!({"embeds": [embed], "allowed_mentions": {"parse": []}})
}

fn pagerduty(webhook: &Webhook, notices: &[Notice]) -> Value {
    let Some(notice) = notices.first() else {
        return Value::Null;
    };
    let key = webhook.routing_key.as_ref();
    let severity = match (notice.is_test(), notice.is_critical()) {
        (true, _) => "info",
        (_, true) => "critical",
        _ => "warning",
    };
    let links: Vec<Value> = notice
        .links()
        .into_iter()
        .map(|(text, href)| json!({"href": href, "text": text}))
        .collect();
    json!({
        "routing_key": key.map(crate::webhook::RoutingKey::reveal),
        "event_action": if notice.is_over() { "resolve" } else { "trigger" },
        // The same when it begins and when it ends: so the end finds the incident.
        "dedup_key": cut(&notice.alert, 255),
        "payload": {
            "summary": cut(&notice.title, 1_024),
            "source": notice.pool.as_deref().unwrap_or("Leasehold"),
            "severity": severity,
            "timestamp": notice.at,
            "component": notice.pool,
            "group": "leasehold",
            "class": notice.kind,
            "custom_details": notice.data,
        },
        "client": "Leasehold",
        "client_url": notice.page,
        "links": links,
    })
}

/// The subject and the text of a mail.
pub(super) fn mail(webhook: &Webhook, deliveries: &[&Delivery], pages: &str) -> (String, String) {
    let notices: Vec<Notice> = deliveries.iter().map(|one| Notice::of(one)).collect();
    let mut text = String::new();
    let subject = match &notices[..] {
        [notice] => {
            text.push_str(&format!("{}\n", notice.title));
            if !notice.detail.is_empty() {
                text.push_str(&format!("{}\n", notice.detail));
            }
            text.push('\n');
            for (title, url) in notice.links() {
                text.push_str(&format!("{title}: {url}\n"));
            }
            notice.title.clone()
        }
        several => {
            for notice in several {
                text.push_str(&format!("- {} {}\n", notice.title, notice.detail));
                if let Some((_, url)) = notice.links().into_iter().next() {
                    text.push_str(&format!("  {url}\n"));
                }
            }
            let runbooks = runbooks(several);
            if !runbooks.is_empty() {
                text.push_str("\nWhat to do:\n");
            }
            for (_, runbook) in runbooks {
                text.push_str(&format!("{runbook}\n"));
            }
            heading(several)
        }
    };
    text.push_str(&format!(
        "\n-- \nLeasehold sends you this because of the webhook {}: {pages}/admin/webhooks/{}\n",
        webhook
            .name
            .as_ref()
            .map_or(webhook.id.as_str(), |name| name.as_str()),
        webhook.id
    ));
    (cut(subject.trim_end_matches('.'), 150), text)
}

/// The alert that a message is about; none of a test.
pub(super) fn alert(delivery: &Delivery) -> Option<String> {
    let message: Value = serde_json::from_str(&delivery.body).unwrap_or_default();
    message["data"]["alert"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests;
