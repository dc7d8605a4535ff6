//! What has to fit together, and cannot be seen in one setting alone.

use std::net::SocketAddr;

use convoke_types::Tags;

use super::Loaded;
use super::fault::Fault;
use super::value::Value;

/// A rule: what has to hold, and what to say of which setting when it does not.
pub(crate) type Rule = (&'static str, fn(&Loaded) -> Option<(&'static str, String)>);

/// Every rule.
pub(crate) const TOGETHER: &[Rule] = &[
    (
        "A token is in `cluster.token` or in the file `cluster.token_file`, not in both",
        one_token,
    ),
    (
        "`api.tls_cert` and `api.tls_key` are given together",
        whole_tls,
    ),
    (
        "An `api.listen` that is not on loopback has TLS",
        tls_outside,
    ),
    ("Each key of `node.tags` is there once", tags_once),
    (
        "`limits.message` is no more than `limits.memory_per_peer`",
        message_fits,
    ),
    (
        "`limits.links_per_peer` is no more than `limits.links`",
        links_fit,
    ),
    ("`stop.drain` is no longer than `stop.bound`", drain_fits),
    (
        "A file in the data directory does not name another one as `node.data`",
        data_stays,
    ),
];

/// All that does not fit.
pub(crate) fn together(loaded: &Loaded, faults: &mut Vec<Fault>) {
    for (_, find) in TOGETHER {
        if let Some((key, what)) = find(loaded) {
            faults.push(Fault::new(&loaded.get(key).origin, key, what));
        }
    }
}

fn is_set(loaded: &Loaded, key: &str) -> bool {
    loaded.get(key).value.is_set()
}

fn one_token(loaded: &Loaded) -> Option<(&'static str, String)> {
    let both = is_set(loaded, "cluster.token") && is_set(loaded, "cluster.token_file");
    both.then(|| {
        (
            "cluster.token_file",
            "cluster.token is given as well; keep one of them".to_owned(),
        )
    })
}

fn whole_tls(loaded: &Loaded) -> Option<(&'static str, String)> {
    match (
        is_set(loaded, "api.tls_cert"),
        is_set(loaded, "api.tls_key"),
    ) {
        (true, false) => Some((
            "api.tls_cert",
            "it needs api.tls_key, the key that belongs to it".to_owned(),
        )),
        (false, true) => Some((
            "api.tls_key",
            "it needs api.tls_cert, the certificates it belongs to".to_owned(),
        )),
        (true, true) | (false, false) => None,
    }
}

fn tls_outside(loaded: &Loaded) -> Option<(&'static str, String)> {
    let Value::Text(listen) = &loaded.get("api.listen").value else {
        return None;
    };
    let is_outside = listen
        .parse::<SocketAddr>()
        .is_ok_and(|at| !at.ip().is_loopback());
    let is_bare = !is_set(loaded, "api.tls_cert") && !is_set(loaded, "api.tls_key");
    (is_outside && is_bare).then(|| {
        let what = format!(
            "{listen} is not on loopback, and there tokens would travel in the clear; give api.tls_cert and api.tls_key, or listen at 127.0.0.1"
        );
        ("api.listen", what)
    })
}

fn tags_once(loaded: &Loaded) -> Option<(&'static str, String)> {
    let Value::List(tags) = &loaded.get("node.tags").value else {
        return None;
    };
    let error = tags.join(",").parse::<Tags>().err()?;
    (!tags.is_empty()).then(|| ("node.tags", error.to_string()))
}

fn message_fits(loaded: &Loaded) -> Option<(&'static str, String)> {
    let (message, memory) = (
        loaded.size("limits.message"),
        loaded.size("limits.memory_per_peer"),
    );
    (message > memory).then(|| {
        let what = "it is more than limits.memory_per_peer, so such a message would never be taken";
        ("limits.message", what.to_owned())
    })
}

fn links_fit(loaded: &Loaded) -> Option<(&'static str, String)> {
    let too_many = loaded.whole("limits.links_per_peer") > loaded.whole("limits.links");
    too_many.then(|| {
        (
            "limits.links_per_peer",
            "it is more than limits.links".to_owned(),
        )
    })
}

fn drain_fits(loaded: &Loaded) -> Option<(&'static str, String)> {
    let too_long = loaded.duration("stop.drain") > loaded.duration("stop.bound");
    too_long.then(|| {
        (
            "stop.drain",
            "it is longer than stop.bound, the whole of a stop".to_owned(),
        )
    })
}

fn data_stays(loaded: &Loaded) -> Option<(&'static str, String)> {
    let file = loaded.file.as_deref()?;
    let named = loaded
        .default_file
        .then(|| &loaded.get("node.data").value)?;
    let Value::Text(named) = named else {
        return None;
    };
    (file.parent() != Some(std::path::Path::new(named))).then(|| {
        let what = format!(
            "this file is read because it is in the data directory, so it cannot name {named:?} as one; give --config for that"
        );
        ("node.data", what)
    })
}
