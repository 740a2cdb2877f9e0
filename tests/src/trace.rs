//! What `strace` saw of a server: whether every reply came after the sync that covers its key.
//!
//! Order is the order of lines. A call that others overtake has two lines, `<unfinished ...>` where
//! it began and `resumed` where it returned; any other call began and returned at its one line.
//! `strace` prints a return before it lets the thread go on, and a beginning before it lets the
//! call run, so a call that begins below the return of another truly follows it.

use std::collections::HashMap;

#[cfg(test)]
mod tests;

/// The system calls to trace: those that write files, sync them and send replies.
pub const CALLS: &str = "trace=pwrite64,pwritev,write,writev,sendto,sendmsg,fdatasync,fsync,openat";

const WRITES: [&str; 4] = ["pwrite64", "pwritev", "write", "writev"];
const SYNCS: [&str; 2] = ["fdatasync", "fsync"];
const SENDS: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];

/// The keys of the `local` writes that one connection saw acknowledged, in their order. No key may
/// be part of another.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The port of the client.
    pub port: u16,
    /// The keys.
    pub keys: Vec<String>,
}

/// A system call.
#[derive(Clone, Debug)]
struct Call {
    /// The whole text, arguments and result.
    text: String,
    /// The line at which it began.
    began: usize,
    /// The line at which it returned; none if the process died in it.
    returned: Option<usize>,
}

impl Call {
    fn is_one_of(&self, names: &[&str]) -> bool {
        let name = self.text.split('(').next();
        name.is_some_and(|name| names.contains(&name))
    }

    /// The file or the socket behind the first argument.
    fn target(&self) -> &str {
        let Some((_, rest)) = self.text.split_once('<') else {
            return "";
        };
        // A socket holds `->`, so only what may follow an argument ends it.
        let ends = [">,", ">)", "> "].iter().filter_map(|end| rest.find(end));
        ends.min().map_or("", |end| &rest[..end])
    }

    fn result(&self) -> Option<i64> {
        let (_, result) = self.text.rsplit_once(" = ")?;
        result.split_whitespace().next()?.parse().ok()
    }
}

/// Checks every reply; the number of them.
///
/// # Errors
///
/// The first reply that no returned sync of its key's bytes precedes, or a reply or a write that
/// is not in the trace.
pub fn check_replies(trace: &str, connections: &[Connection]) -> Result<usize, String> {
    let calls = calls(trace);
    let mut checked = 0;
    for connection in connections {
        let socket_end = format!(":{}]", connection.port);
        let replies: Vec<&Call> = calls
            .iter()
            .filter(|call| call.is_one_of(&SENDS) && call.target().ends_with(&socket_end))
            .filter(|call| call.text.contains("\"HTTP/1.1 200 "))
            .collect();
        if replies.len() != connection.keys.len() {
            let (found, sent) = (replies.len(), connection.keys.len());
            return Err(format!(
                "{found} replies in the trace to {sent} writes of {connection:?}"
            ));
        }
        for (key, reply) in connection.keys.iter().zip(replies) {
            check_reply(&calls, key, reply)?;
            checked += 1;
        }
    }
    Ok(checked)
}

fn check_reply(calls: &[Call], key: &str, reply: &Call) -> Result<(), String> {
    let write = calls
        .iter()
        .filter(|call| call.is_one_of(&WRITES) && call.target().starts_with('/'))
        .find(|call| call.text.contains(key) && call.result() > Some(0));
    let Some((write, written)) = write.and_then(|write| Some((write, write.returned?))) else {
        return Err(format!("no write of {key} to a file returned"));
    };
    let covers = |sync: &Call| {
        sync.is_one_of(&SYNCS)
            && sync.target() == write.target()
            && sync.began > written
            && sync.returned.is_some_and(|line| line < reply.began)
            && sync.result() == Some(0)
    };
    if calls.iter().any(covers) {
        return Ok(());
    }
    Err(format!(
        "{key} was acknowledged before it was synced:\n{write:#?}\n{reply:#?}\nno sync of {} lies \
         between the lines {written} and {}",
        write.target(),
        reply.began
    ))
}

/// Joins the two lines of a call that was overtaken.
fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else {
            continue;
        };
        let Some((_time, text)) = text.trim_start().split_once(' ') else {
            continue;
        };
        if text.starts_with("+++") || text.starts_with("---") {
            continue;
        }
        if let Some(resumed) = text.strip_prefix("<... ") {
            let rest = resumed.split_once("resumed>").map_or("", |(_, rest)| rest);
            if let Some(call) = unfinished.remove(thread) {
                calls[call].text.push_str(rest);
                calls[call].returned = Some(line);
            }
            continue;
        }
        let begun = text.strip_suffix("<unfinished ...>");
        if begun.is_some() {
            unfinished.insert(thread, calls.len());
        }
        calls.push(Call {
            text: begun.unwrap_or(text).to_owned(),
            began: line,
            returned: begun.is_none().then_some(line),
        });
    }
    calls
}
